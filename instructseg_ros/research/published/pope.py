"""POPE: does a model claim objects that are not in the image (Li et al., EMNLP 2023)?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from instructseg_ros.research.data.dataset import Answers, Figures, QuestionBenchmark, row
from instructseg_ros.research.data.reading import Reading, read_lines
from instructseg_ros.research.data.sample import ImageFile, Sample
from instructseg_ros.research.published.questions import answered_briefly, count_missing, question

_SUBSETS: Final = ('random', 'popular', 'adversarial')
_NO: Final = ('No', 'not', 'no')


def read(folder: Path, split: str) -> Reading:
    """Read the three subsets as one split with three groups.

    Raises:
        DataError: A file is missing or damaged.
    """
    reading = Reading()
    for subset in _SUBSETS:
        file = folder / 'coco' / f'coco_pope_{subset}.json'
        for where, entry in read_lines(file, reading):
            reading.add(where, partial(_sample, subset, entry, folder))
    return reading


def _sample(subset: str, entry: Mapping[str, Any], folder: Path) -> Sample:
    if entry['label'] not in ('yes', 'no'):
        raise ValueError(f'a label must be yes or no, not {entry["label"]!r}')
    return question(
        f'{subset}-{entry["question_id"]}',
        ImageFile(folder / 'val2014' / entry['image']),
        answered_briefly(entry['text']),
        entry['label'],
        group=subset,
    )


def score(samples: Sequence[Sample], answers: Answers) -> Figures:
    """Compute accuracy, precision, recall, F1 and share of `yes` by subset, and the mean F1."""
    subsets = sorted({sample.group for sample in samples})
    figures: Figures = {
        subset: _score_subset([s for s in samples if s.group == subset], answers)
        for subset in subsets
    }
    mean = sum(figures[subset]['F1'] for subset in subsets) / len(subsets) if subsets else 0.0
    return figures | {'F1': mean, 'n': len(samples), 'missing': count_missing(samples, answers)}


def says_yes(answer: str) -> bool:
    """Return whether an answer's first sentence has no word for `no`; see LLaVA's eval_pope.py."""
    words = answer.split('.')[0].replace(',', '').split(' ')
    return not any(word in words for word in _NO)


def _score_subset(samples: Sequence[Sample], answers: Answers) -> dict[str, float]:
    pairs = [
        (says_yes(answers[s.key]) if s.key in answers else None, s.turns[0].answer == 'yes')
        for s in samples
    ]
    right = sum(said == true for said, true in pairs)  # None, a missing answer, is never right
    both = sum(said is True and true for said, true in pairs)
    said_yes = sum(said is True for said, _ in pairs)
    true_yes = sum(true for _, true in pairs)
    precision = both / said_yes if said_yes else 0.0
    recall = both / true_yes if true_yes else 0.0
    total = precision + recall
    return {
        'accuracy': right / len(pairs),
        'precision': precision,
        'recall': recall,
        'F1': 2 * precision * recall / total if total else 0.0,
        'yes': said_yes / len(pairs),
    }


DATA_SETS: Final = (
    QuestionBenchmark(
        name='pope',
        splits=('test',),
        read=read,
        layout='coco/coco_pope_random.json, coco_pope_popular.json, coco_pope_adversarial.json\n'
        'val2014/*.jpg',
        score=score,
        published={'F1': {'test': row(87.0, **{'LLaVA-1.5-7B': 85.9})}},
    ),
)
