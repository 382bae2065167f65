from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from color_stream import frame

from instructseg_ros.model.frame_buffer import Frame, FrameBuffer
from instructseg_ros.model.query import Query
from instructseg_ros.model.video_stream import (
    ComputeBudget,
    FrameTask,
    ReferencePolicy,
    VideoStream,
)

STRIDE = 10
RED, GREEN = 'find red', 'find green'


EMBEDDING: Any = 'an embedding'


def follow(text: str) -> Query:
    return Query(text=text)


class Line:
    """A stream of frames; every query that is to reason gets an embedding."""

    def __init__(
        self,
        *,
        reference_frames: int = 2,
        max_stride: int = STRIDE,
        scene_change: float = 0.2,
        **budget: int,
    ) -> None:
        self.stream = VideoStream(
            ReferencePolicy(
                count=reference_frames,
                stride=STRIDE / 1e9,
                max_stride=max_stride / 1e9,
                scene_change=scene_change,
            )
        )
        self.stream.frames = FrameBuffer(capacity=100, max_span=10_000)
        self.budget = ComputeBudget(**{'reference_frames': reference_frames, **budget})
        self.queries = [follow(RED)]
        self.stamp = 0

    def show(self, *, step: int = STRIDE, red: bool = True, scene: int = 0) -> Frame:
        """Add a frame without planning it."""
        self.stamp += step
        shown = frame(self.stamp, red=red)
        shown.image[..., 2] = scene
        self.stream.frames.add(shown)
        return shown

    def plan(self, queries: Sequence[Query] | None = None) -> FrameTask[Query]:
        """Plan what is newest."""
        newest = self.stream.frames.newest(now=0.0, max_age=1.0)
        assert newest is not None
        task = self.stream.plan(newest, self.queries if queries is None else queries, self.budget)
        for query in task.to_reason:
            query.embedding = EMBEDDING
        return task

    def next(self, *, step: int = STRIDE, scene: int = 0) -> FrameTask[Query]:
        self.show(step=step, scene=scene)
        return self.plan()

    def reasons(self, count: int) -> list[bool]:
        """Whether the first instruction reasons on each of the next frames."""
        return [self.queries[0] in self.next().to_reason for _ in range(count)]

    def shown_references(self, count: int) -> list[list[int]]:
        return [stamps(self.next()) for _ in range(count)]


def stamps(task: FrameTask[Query]) -> list[int]:
    return [each.stamp for each in task.references]


def texts(queries: Sequence[Query]) -> list[str]:
    return [query.text for query in queries]


def test_a_task_holds_the_frame_and_the_queries_that_it_was_planned_for() -> None:
    line = Line()
    task = line.stream.plan(
        line.show(), line.queries, ComputeBudget(reference_frames=2, scale=0.75)
    )
    assert (task.frame.stamp, task.scale) == (STRIDE, 0.75)
    assert list(task.queries) == line.queries
    assert not task.keep_references


def test_an_exact_budget_reasons_about_everything_on_every_frame() -> None:
    line = Line()
    line.queries.append(follow(GREEN))
    assert [texts(line.next().to_reason) for _ in range(5)] == [[RED, GREEN]] * 5


def test_an_exact_budget_shows_the_newest_references() -> None:
    assert Line().shown_references(4) == [[], [10], [10, 20], [20, 30]]


def test_fixed_references_stay_for_as_many_frames_as_asked_once_all_are_there() -> None:
    line = Line(refresh_every=3)
    assert line.shown_references(9) == [
        [],
        [10],
        [10, 20],
        [10, 20],
        [10, 20],
        [40, 50],
        [40, 50],
        [40, 50],
        [70, 80],
    ]


def test_fixed_references_are_announced_as_such() -> None:
    assert Line(refresh_every=3).next().keep_references


def test_fixed_references_of_a_model_that_wants_none_are_none() -> None:
    line = Line(reference_frames=0, refresh_every=3)
    assert line.shown_references(5) == [[]] * 5


def test_cleared_references_are_chosen_anew() -> None:
    line = Line(refresh_every=10)
    line.shown_references(5)
    line.stream.clear()
    assert line.shown_references(2) == [[40, 50], [40, 50]]


def test_fixed_references_are_released_when_time_jumps_back() -> None:
    line = Line(refresh_every=10)
    line.shown_references(5)
    assert line.shown_references(1) == [[10, 20]]
    line.stamp = 0
    assert line.shown_references(3) == [[], [10], [10, 20]]


def test_fixed_references_are_released_when_time_jumps_back_while_nothing_is_active() -> None:
    line = Line(refresh_every=10)
    line.stamp = 1000
    line.shown_references(5)
    line.stamp = 0
    for _ in range(200):
        line.show()
    assert stamps(line.next()) == [1990, 2000]


def test_fixed_references_are_released_when_they_are_from_long_ago() -> None:
    line = Line(refresh_every=10)
    line.shown_references(5)
    for _ in range(200):
        line.show()
    assert stamps(line.next()) == [2040, 2050]


def test_two_rate_reasons_on_every_nth_frame() -> None:
    assert Line(reason_every=3).reasons(8) == [True, False, False, True, False, False, True, False]


def test_between_its_turns_the_language_model_is_shown_no_references() -> None:
    line = Line(reason_every=3)
    assert line.shown_references(7) == [[], [], [], [20, 30], [], [], [50, 60]]


def test_a_new_instruction_reasons_at_once_and_the_others_keep_their_turn() -> None:
    line = Line(reason_every=4)
    line.next()
    line.queries.append(follow(GREEN))
    assert [texts(line.next().to_reason) for _ in range(4)] == [[GREEN], [], [], [RED, GREEN]]


@pytest.mark.parametrize('given_on', [0, 1, 2])
def test_an_instruction_given_between_two_frames_takes_no_turn_from_the_others(
    given_on: int,
) -> None:
    line = Line(reason_every=3)
    turns = []
    for number in range(7):
        turns.append(line.queries[0] in line.next().to_reason)
        if number == given_on:
            newcomer = follow(GREEN)
            assert texts(line.plan([newcomer]).to_reason) == [GREEN]
            line.queries.append(newcomer)
    assert turns == [True, False, False, True, False, False, True]


def test_an_instruction_given_between_two_frames_does_not_wear_fixed_references_out() -> None:
    line = Line(refresh_every=4)
    line.shown_references(3)
    assert stamps(line.plan([follow(GREEN)])) == [10, 20]
    assert line.shown_references(4) == [[10, 20]] * 3 + [[50, 60]]


def test_a_change_of_the_scene_makes_the_language_model_run_at_once() -> None:
    line = Line(reason_every=100)
    assert [bool(line.next(scene=scene).to_reason) for scene in (0, 0, 200, 200, 0, 0)] == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]


def test_a_slow_change_of_the_scene_adds_up() -> None:
    line = Line(reason_every=100)
    changes = [bool(line.next(scene=scene).to_reason) for scene in range(0, 100, 10)]
    assert changes == [True, False, False] * 3 + [True]


def test_a_change_within_the_tolerated_share_does_not_count() -> None:
    line = Line(reason_every=100, scene_change=1.0)
    assert [bool(line.next(scene=scene).to_reason) for scene in (0, 200, 0)] == [True, False, False]


def test_two_rate_reasons_when_time_jumps_back() -> None:
    line = Line(reason_every=100)
    line.reasons(3)
    line.stamp = 0
    assert line.reasons(3) == [True, False, False]


def test_a_frame_with_the_stamp_of_the_last_is_a_frame_like_any_other() -> None:
    line = Line(reason_every=3)
    line.reasons(1)
    assert [bool(line.next(step=0).to_reason) for _ in range(4)] == [False, False, True, False]


def test_a_budget_that_widens_runs_the_language_model_first() -> None:
    line = Line()
    line.reasons(5)
    line.budget = ComputeBudget(reason_every=3, reference_frames=2)
    assert line.reasons(5) == [True, False, False, True, False]


def test_a_budget_with_fewer_references_shows_the_newest_of_them() -> None:
    line = Line(reference_frames=4)
    line.shown_references(6)
    line.budget = ComputeBudget(reference_frames=1)
    assert line.shown_references(1) == [[60]]
    line.budget = ComputeBudget(reference_frames=0)
    assert line.shown_references(1) == [[]]


def test_frames_that_were_read_further_apart_are_shown_again_up_to_the_longest_stride() -> None:
    line = Line(max_stride=3 * STRIDE)
    read = []
    for _ in range(6):
        for _ in range(4):
            line.show(step=5)
        read.append(stamps(line.plan()))
    assert read[2:] == [[20, 40], [40, 60], [60, 80], [80, 100]]


def test_frames_that_were_read_too_far_apart_are_not_shown_again() -> None:
    line = Line(max_stride=3 * STRIDE)
    read = []
    for _ in range(4):
        for _ in range(8):
            line.show(step=5)
        read.append(stamps(line.plan()))
    assert read == [[20, 30], [60, 70], [100, 110], [140, 150]]


def test_there_are_never_fewer_references_than_the_buffer_has() -> None:
    line = Line(max_stride=3 * STRIDE)
    counts = []
    for _ in range(6):
        for _ in range(4):
            line.show(step=5)
        counts.append(len(line.plan().references))
    assert counts == [2, 2, 2, 2, 2, 2]


def test_a_frame_is_never_its_own_reference() -> None:
    line = Line(max_stride=3 * STRIDE)
    for _ in range(20):
        task = line.next(step=15)
        for again in (task, line.plan([follow(GREEN)])):
            assert again.frame not in again.references
            assert all(each.stamp < again.frame.stamp for each in again.references)


def test_references_are_in_order_whatever_the_camera_does() -> None:
    rng = np.random.default_rng(0)
    for max_stride, refresh_every in ((STRIDE, 0), (3 * STRIDE, 0), (STRIDE, 5)):
        line = Line(reference_frames=3, max_stride=max_stride, refresh_every=refresh_every)
        for _ in range(300):
            task = line.next(step=int(rng.choice([0, 3, 10, 14, 25, 200, -40])))
            assert stamps(task) == sorted(stamps(task))
            assert len({id(each) for each in task.references}) == len(task.references) <= 3
            assert all(each.stamp < task.frame.stamp for each in task.references)
