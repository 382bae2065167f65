from __future__ import annotations

import pytest

from instructseg_ros.model.video_stream import ComputeBudget
from instructseg_ros.streaming.schedule import (
    MAX_IDLE_LOAD,
    MAX_PATIENCE,
    WINDOW,
    RateController,
    Schedule,
    budgets,
)

# Seconds a frame at a target of 10 frames per second.
SLOW, TIGHT, FAST = 0.2, 0.08, 0.01
LADDER = [ComputeBudget(scale=1.0), ComputeBudget(scale=0.75), ComputeBudget(scale=0.5)]


def controller(*, latency: float = 0.0, steps: int = len(LADDER)) -> RateController:
    return RateController(LADDER[:steps], rate=10.0, latency=latency)


def window(controller: RateController, seconds: float, *, cameras: int = 1) -> str:
    """Let one window of frames pass; return what was changed at its end."""
    changes = [
        controller.note(seconds, cameras=cameras)
        for _ in range(max(WINDOW, 2 * controller.budget.reason_every))
    ]
    assert not any(changes[:-1])
    return changes[-1]


def windows_until_a_change(controller: RateController, seconds: float) -> int:
    for count in range(1, 2 * MAX_PATIENCE):
        if window(controller, seconds):
            return count
    raise AssertionError('nothing changed')


def test_the_best_budget_stays_while_it_holds_the_target() -> None:
    held = controller()
    for seconds in (TIGHT, FAST, TIGHT) * 5:
        assert window(held, seconds) == ''
    assert held.budget == LADDER[0]


def test_a_window_that_is_too_slow_takes_one_step_down_and_says_so() -> None:
    held = controller()
    changes = window(held, SLOW)
    assert held.budget == LADDER[1]
    assert changes == (f'slower than its target (200% of the available time): now {LADDER[1]}')


def test_it_steps_down_until_the_ladder_ends_and_then_says_nothing() -> None:
    held = controller()
    changes = [bool(window(held, SLOW)) for _ in range(5)]
    assert changes == [True, True, False, False, False]
    assert held.budget == LADDER[-1]


def test_one_slow_frame_in_a_window_that_holds_the_target_changes_nothing() -> None:
    held = controller()
    for seconds in [FAST] * (WINDOW - 1) + [SLOW]:
        assert held.note(seconds) == ''
    assert held.budget == LADDER[0]


def test_with_room_to_spare_it_steps_up_again_and_says_so() -> None:
    held = controller()
    window(held, SLOW)
    changes = window(held, FAST)
    assert changes.startswith('faster than its target (10% of the available time)')
    assert held.budget == LADDER[0]


def test_without_room_to_spare_it_stays() -> None:
    held = controller()
    window(held, SLOW)
    just_too_little = MAX_IDLE_LOAD / 10.0 + 0.001
    assert [window(held, just_too_little) for _ in range(20)] == [''] * 20
    assert held.budget == LADDER[1]


def test_a_step_up_that_was_taken_back_waits_twice_as_long_each_time() -> None:
    held = controller(steps=2)
    window(held, SLOW)
    waits = []
    for _ in range(9):
        waits.append(windows_until_a_change(held, FAST))
        window(held, SLOW)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 64, 64]


def test_only_windows_in_a_row_count_as_patience() -> None:
    held = controller()
    window(held, SLOW)
    window(held, FAST)
    window(held, SLOW)  # taken back: two in a row from now on
    assert window(held, FAST) == ''
    assert window(held, TIGHT) == ''
    assert window(held, FAST) == ''
    assert window(held, FAST) != ''


def test_a_slow_window_at_the_end_of_the_ladder_takes_the_patience_back() -> None:
    held = controller(steps=2)
    window(held, SLOW)
    window(held, FAST)
    window(held, SLOW)  # taken back: two in a row from now on
    assert window(held, FAST) == ''
    assert window(held, SLOW) == ''
    assert window(held, FAST) == ''
    assert window(held, FAST) != ''


def test_the_slowest_frame_counts_where_there_is_a_limit_of_latency() -> None:
    held = controller(latency=0.05)
    for seconds in [FAST] * (WINDOW - 1):
        held.note(seconds)
    assert held.note(0.06).startswith('slower than its target (120%')


def test_a_latency_within_its_limit_still_needs_the_rate_to_hold() -> None:
    assert window(controller(latency=10.0), SLOW) != ''
    assert window(controller(latency=10.0), TIGHT) == ''


def test_cameras_share_the_time() -> None:
    assert window(controller(), TIGHT, cameras=1) == ''
    assert window(controller(), TIGHT, cameras=2) != ''


def test_a_ladder_of_one_is_never_left() -> None:
    held = controller(steps=1)
    for seconds in (SLOW, FAST, SLOW):
        assert window(held, seconds) == ''
    assert held.budget == LADDER[0]


def test_a_window_holds_two_runs_of_the_language_model() -> None:
    held = RateController(
        [ComputeBudget(reason_every=8), ComputeBudget(reason_every=20)], rate=10.0
    )
    assert [held.note(SLOW) for _ in range(15)] == [''] * 15
    assert held.note(SLOW) != ''


def test_mixed_frames_of_two_rates_are_weighed_together() -> None:
    held = RateController([ComputeBudget(reason_every=4), ComputeBudget(reason_every=8)], rate=10.0)
    for number in range(10 * WINDOW):
        assert held.note(0.2 if number % 4 == 0 else 0.02) == ''


@pytest.mark.parametrize('reference_frames', [0, 4])
def test_a_model_whose_cost_follows_the_budget_settles_and_holds_the_target(
    reference_frames: int,
) -> None:
    held = RateController(
        budgets(Schedule.AUTO, reason_every=3, refresh_every=10, reference_frames=reference_frames),
        rate=10.0,
    )
    changes = []
    for number in range(4000):
        budget = held.budget
        seconds = 0.06 * budget.scale + (0.16 if number % budget.reason_every == 0 else 0.0)
        if held.note(seconds):
            changes.append(number)
    assert held.budget.reason_every > 1 and held.budget.scale == 1.0
    assert len([number for number in changes if number > 2000]) <= 6
