from __future__ import annotations

from itertools import pairwise

import pytest

from instructseg_ros.model.video_stream import ComputeBudget
from instructseg_ros.streaming.schedule import Schedule, budgets


def choose(schedule: Schedule, *, reference_frames: int = 4) -> list[ComputeBudget]:
    return budgets(schedule, reason_every=3, refresh_every=10, reference_frames=reference_frames)


def test_exact_computes_everything_for_each_frame() -> None:
    assert choose(Schedule.EXACT) == [
        ComputeBudget(reason_every=1, refresh_every=0, reference_frames=4, scale=1.0)
    ]


def test_fixed_references_only_keep_the_references_longer() -> None:
    assert choose(Schedule.FIXED_REFERENCES) == [
        ComputeBudget(refresh_every=10, reference_frames=4)
    ]


def test_two_rate_only_runs_the_language_model_less_often() -> None:
    assert choose(Schedule.TWO_RATE) == [ComputeBudget(reason_every=3, reference_frames=4)]


def test_auto_begins_with_the_exact_budget() -> None:
    assert choose(Schedule.AUTO)[0] == choose(Schedule.EXACT)[0]


def test_auto_widens_first_then_shows_fewer_references_then_a_smaller_image() -> None:
    steps = [
        (budget.reason_every, budget.reference_frames, budget.scale)
        for budget in choose(Schedule.AUTO)
    ]
    assert steps == [
        (1, 4, 1.0),
        (2, 4, 1.0),
        (3, 4, 1.0),
        (5, 4, 1.0),
        (8, 4, 1.0),
        (8, 2, 1.0),
        (8, 1, 1.0),
        (8, 0, 1.0),
        (8, 0, 0.875),
        (8, 0, 0.75),
    ]


@pytest.mark.parametrize('reference_frames', [0, 1, 3, 8])
def test_each_step_of_auto_is_less_work_than_the_one_before(reference_frames: int) -> None:
    ladder = choose(Schedule.AUTO, reference_frames=reference_frames)
    for budget, cheaper in pairwise(ladder):
        assert budget != cheaper
        assert cheaper.reason_every >= budget.reason_every
        assert cheaper.reference_frames <= budget.reference_frames
        assert cheaper.scale <= budget.scale
    assert ladder[-1].reference_frames == 0


def test_the_values_are_those_of_the_parameter() -> None:
    assert [each.value for each in Schedule] == ['exact', 'fixed_references', 'two_rate', 'auto']


def test_a_budget_is_described_in_words() -> None:
    assert str(ComputeBudget(reference_frames=4)) == (
        'language model every frame, 4 reference frames, input size 100%'
    )
    assert str(ComputeBudget(reason_every=5, scale=0.75)) == (
        'language model every 5 frames, 0 reference frames, input size 75%'
    )
