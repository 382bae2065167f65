"""Answers of a model, a line of JSON each, as LLaVA's tools write them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from instructseg_ros.research.data.sample import Sample


class AnswerFile:
    """Answers that are added one by one; a line that a killed run left unfinished is dropped."""

    def __init__(self, file: Path, model: str) -> None:
        self._file = file
        self._model = model
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            rows = list(_rows(file))
            # Others may read it at this moment, and a kill must not cost what it holds.
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
    """Answers by the key of their question, of all processes."""
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
