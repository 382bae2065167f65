from __future__ import annotations

import json

import pytest

from instructseg_ros.model.tasks import Task
from instructseg_ros.streaming.segmentation import Source, State


@pytest.mark.parametrize(
    ('value', 'name', 'number'),
    [
        (State.NOT_FOUND, 'NOT_FOUND', 2),
        (Source.PROPAGATED, 'PROPAGATED', 2),
        (Task.REASONING, 'REASONING', 2),
    ],
)
def test_a_state_a_source_and_a_task_print_their_names(
    value: State | Source | Task, name: str, number: int
) -> None:
    assert str(value) == f'{value}' == name
    assert f'{value:d}' == f'{value:1}' == str(number)
    assert value == number and json.dumps(value) == str(number)
