"""Shared parts of the question-answering benchmarks: wording, accuracy and answer files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from instructseg_ros.research.data.dataset import Answers, Figures
from instructseg_ros.research.data.sample import ImageSource, Sample, SampleTask, Turn

LETTERS: Final = 'ABCDEFGH'
BY_LETTER: Final = "Answer with the option's letter from the given choices directly."
SHORT_ANSWER: Final = 'Answer the question using a single word or phrase.'


def question(
    key: str,
    image: ImageSource,
    text: str,
    answer: str = '',
    *,
    group: str = '',
    details: Mapping[str, Any] | None = None,
) -> Sample:
    """Create a sample from one question about one image."""
    return Sample(
        key=key,
        task=SampleTask.CONVERSATION,
        frames=(image,),
        turns=(Turn(question=_not_blank(text).strip(), answer=answer),),
        group=group,
        details=details or {},
    )


def with_options(text: str, options: Sequence[str]) -> str:
    """Append lettered options to a question, and the request to answer with a letter."""
    lines = [f'{letter}. {option}' for letter, option in zip(LETTERS, options, strict=False)]
    return '\n'.join([_not_blank(text), *lines, BY_LETTER])


def answered_briefly(text: str) -> str:
    """Append to a question the request to answer with a word or a phrase."""
    return f'{_not_blank(text)}\n{SHORT_ANSWER}'


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError('there is no question')
    return text


def accuracy(
    samples: Sequence[Sample], answers: Answers, right: Callable[[Sample, str], float]
) -> Figures:
    """Average the score of each answer over all samples and over each group.

    Args:
        samples: The questions.
        answers: Answers by key; a missing answer scores 0.
        right: (sample, answer) -> 0 to 1.
    """
    groups: dict[str, list[float]] = {}
    for sample in samples:
        value = right(sample, answers[sample.key]) if sample.key in answers else 0.0
        for group in ('accuracy', sample.group):
            if group:
                groups.setdefault(group, []).append(value)
    figures: Figures = {group: sum(each) / len(each) for group, each in groups.items()}
    return figures | {'n': len(samples), 'missing': count_missing(samples, answers)}


def count_missing(samples: Iterable[Sample], answers: Answers) -> int:
    """Count the questions without an answer."""
    return sum(sample.key not in answers for sample in samples)


class AnswerFile:
    """A JSON Lines file of answers in LLaVA's format, to which a run appends."""

    def __init__(self, file: Path, model: str) -> None:
        """Open the file; a line that a killed run left incomplete is removed.

        Args:
            file: The file, created if missing.
            model: Name of the model, which is written to each line.
        """
        self._file = file
        self._model = model
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            rows = list(_rows(file))
            # Replaced atomically: other processes may be reading it, and a kill must not lose data.
            scratch = file.with_suffix('.partial')
            scratch.write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
            scratch.replace(file)

    def add(self, sample: Sample, text: str) -> None:
        """Append the answer to a sample's question."""
        row = {
            'question_id': sample.key,
            'prompt': sample.turns[0].question,
            'text': text,
            'answer_id': sample.key,
            'model_id': self._model,
            'metadata': {},
        }
        with self._file.open('a') as stream:
            stream.write(f'{json.dumps(row)}\n')


def read_answers(folder: Path) -> dict[str, str]:
    """Read the answers of all processes, by the keys of the questions."""
    files = sorted(folder.glob('answers_*.jsonl'))
    return {str(row['question_id']): str(row['text']) for file in files for row in _rows(file)}


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and {'question_id', 'text'} <= row.keys():
            yield row
