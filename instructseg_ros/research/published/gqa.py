"""GQA: questions about the relations of objects in an image (Hudson and Manning, CVPR 2019)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from instructseg_ros.research.data.dataset import Answers, Figures, QuestionBenchmark, row
from instructseg_ros.research.data.reading import Reading, read_table
from instructseg_ros.research.data.sample import ImageFile, Sample
from instructseg_ros.research.published.questions import accuracy, answered_briefly, question


def read(folder: Path, split: str) -> Reading:
    """Read a split.

    Raises:
        DataError: Its file is missing or damaged.
    """
    file = folder / f'{split}_questions.json'
    reading = Reading()
    for key, entry in read_table(file).items():
        reading.add(f'{file} {key}', partial(_sample, key, entry, folder))
    return reading


def _sample(key: str, entry: Mapping[str, Any], folder: Path) -> Sample:
    image = ImageFile(folder / 'images' / f'{entry["imageId"]}.jpg')
    group = entry.get('types', {}).get('structural', '')
    return question(key, image, answered_briefly(entry['question']), entry['answer'], group=group)


def score(samples: Sequence[Sample], answers: Answers) -> Figures:
    """Compute the share of right answers; case and a final full stop do not matter."""
    return accuracy(samples, answers, lambda s, said: _plain(said) == s.turns[0].answer.lower())


def submit(samples: Sequence[Sample], answers: Answers, folder: Path) -> Path:
    """Write the file that GQA's evaluator reads."""
    rows = [
        {'questionId': sample.key, 'prediction': _plain(answers.get(sample.key, ''))}
        for sample in samples
    ]
    file = folder / 'gqa_predictions.json'
    file.write_text(json.dumps(rows))
    return file


def _plain(answer: str) -> str:
    return answer.strip().rstrip('.').lower()


DATA_SETS: Final = (
    QuestionBenchmark(
        name='gqa',
        splits=('testdev_balanced', 'val_balanced'),
        read=read,
        layout='SPLIT_questions.json\nimages/*.jpg',
        score=score,
        submit=submit,
        published={'accuracy': {'testdev_balanced': row(62.3, **{'LLaVA-1.5-7B': 62.0})}},
    ),
)
