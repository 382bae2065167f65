from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.published import scienceqa
from instructseg_ros.research.published.questions import BY_LETTER

PROBLEM = {
    'question': 'What is this?',
    'choices': ['a bird', 'a fish'],
    'answer': 1,
    'hint': '',
    'image': 'image.png',
    'subject': 'natural science',
}


def write(folder: Path, **problems: dict[str, Any]) -> None:
    (folder / 'problems.json').write_text(json.dumps(problems))
    (folder / 'pid_splits.json').write_text(json.dumps({'test': list(problems)}))


def test_a_question_is_worded_as_by_llavas_tools(tmp_path: Path) -> None:
    write(tmp_path, a=PROBLEM, b=PROBLEM | {'hint': 'It can\nswim.'})
    plain, hinted = scienceqa.read(tmp_path, 'test').samples
    asked = f'What is this?\nA. a bird\nB. a fish\n{BY_LETTER}'
    assert plain.turns[0].question == asked
    assert hinted.turns[0].question == f'Context: It can\nswim.\n{asked}'
    assert (plain.turns[0].answer, plain.group) == ('B', 'natural science')
    assert plain.frames[0].path == tmp_path / 'images/test/a/image.png'  # type: ignore[attr-defined]


def test_two_spaces_become_one_as_by_llavas_tools(tmp_path: Path) -> None:
    changes = {'question': 'What  is   this?', 'hint': 'It  swims.', 'choices': ['a  bird', 'b']}
    write(tmp_path, a=PROBLEM | changes)
    [sample] = scienceqa.read(tmp_path, 'test').samples
    asked = f'Context: It swims.\nWhat is  this?\nA. a bird\nB. b\n{BY_LETTER}'
    assert sample.turns[0].question == asked


def test_questions_without_an_image_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, a=PROBLEM | {'image': None}, b=PROBLEM)
    reading = scienceqa.read(tmp_path, 'test')
    assert [sample.key for sample in reading.samples] == ['b'] and not reading.problems


@pytest.mark.parametrize(
    ('problem', 'reason'),
    [
        (PROBLEM | {'answer': 2}, 'the answer must be one of 2 choices, not 2'),
        (PROBLEM | {'answer': -1}, 'the answer must be one of 2 choices, not -1'),
        ({}, "'question' is missing"),
        (PROBLEM | {'choices': None}, 'NoneType'),
        (5, 'not subscriptable'),
    ],
)
def test_a_broken_question_is_reported(tmp_path: Path, problem: Any, reason: str) -> None:
    write(tmp_path, a=problem, b=PROBLEM)
    reading = scienceqa.read(tmp_path, 'test')
    assert [sample.key for sample in reading.samples] == ['b']
    [found] = reading.problems
    assert str(found).startswith(f'{tmp_path / "problems.json"} a: ') and reason in str(found)


def test_a_split_that_the_file_lacks_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, a=PROBLEM)
    with pytest.raises(DataError, match=r'pid_splits\.json has no list of val'):
        scienceqa.read(tmp_path, 'val')
