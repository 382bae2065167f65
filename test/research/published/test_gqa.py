from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmark_samples import make_sample

from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.published import gqa

FILE = 'testdev_balanced_questions.json'


def test_questions_are_grouped_by_structural_type(tmp_path: Path) -> None:
    make_sample('gqa', tmp_path)
    sample = gqa.read(tmp_path, 'testdev_balanced').samples[0]
    assert (sample.key, sample.group, sample.turns[0].answer) == ('00000000', 'verify', 'yes')
    assert sample.frames[0].path == tmp_path / 'images/nt0.jpg'  # type: ignore[attr-defined]
    assert sample.turns[0].question.endswith('\nAnswer the question using a single word or phrase.')


def test_a_broken_question_is_reported(tmp_path: Path) -> None:
    make_sample('gqa', tmp_path)
    questions = json.loads((tmp_path / FILE).read_text())
    del questions['00000001']['answer']
    questions['00000002'] = None
    questions['00000003']['question'] = ' '
    (tmp_path / FILE).write_text(json.dumps(questions))
    reading = gqa.read(tmp_path, 'testdev_balanced')
    first, second, third = map(str, reading.problems)
    assert first == f"{tmp_path / FILE} 00000001: 'answer' is missing"
    assert second.startswith(f'{tmp_path / FILE} 00000002: ')
    assert third == f'{tmp_path / FILE} 00000003: there is no question'
    assert len(reading.samples) == 1


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('[]')
    with pytest.raises(DataError, match='does not contain a JSON object'):
        gqa.read(tmp_path, 'testdev_balanced')
