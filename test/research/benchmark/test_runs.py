from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from small_models import SmallModel, compact_model, released_model
from torch import nn

from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.benchmark.baseline import straightforward_frame
from instructseg_ros.research.benchmark.stream_runs import (
    Answer,
    Clip,
    dropped,
    run,
    straightforward,
    streamed,
)
from instructseg_ros.streaming.schedule import EngineSettings, Schedule

STRIDE = 0.25
CPU = torch.device('cpu')
LAYOUTS = {'compact': compact_model, 'released': released_model}


def clip_of(frames: int, *, seconds: float = STRIDE) -> Clip:
    rng = np.random.default_rng(0)
    return Clip(
        images=list(rng.integers(0, 256, (frames, 40, 56, 3), dtype=np.uint8)),
        stamps=[round(number * seconds * 1e9) for number in range(frames)],
        instructions=['the red mug', 'where is the blue mug?'],
    )


class Noted:
    """Answers with the frame's number as a mask, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Sequence[str]]] = []
        self.layer = nn.Linear(4, 8, bias=False)

    def __call__(
        self, clip: Clip, number: int, instructions: Sequence[str]
    ) -> list[np.ndarray | None]:
        self.asked.append((number, instructions))
        for _ in range(number + 1):  # so that later frames cost more
            self.layer(torch.ones(1000, 4))
        return [np.full((1, 1), number) for _ in instructions]


def numbers(masks: Sequence[np.ndarray | None]) -> list[int]:
    return [int(mask.item()) for mask in masks if mask is not None]


def test_a_run_answers_every_frame_in_its_order() -> None:
    answer, clip = Noted(), clip_of(5)
    timed = run(answer, clip, clip.instructions)
    assert answer.asked == [(number, clip.instructions) for number in range(5)]
    assert numbers(timed.masks) == [0, 1, 2, 3, 4]
    assert len(timed.seconds) == 5 and min(timed.seconds) > 0
    assert timed.gflop == 0


def test_frames_to_warm_up_are_answered_but_not_on_the_clock() -> None:
    timed = run(Noted(), clip_of(6), ['mug'], warm_up=2)
    assert numbers(timed.masks) == [0, 1, 2, 3, 4, 5]
    assert len(timed.seconds) == 4


def test_a_run_may_begin_later_and_leave_frames_out() -> None:
    assert numbers(run(Noted(), clip_of(8), ['mug'], first=1, step=3).masks) == [1, 4, 7]
    timed = run(Noted(), clip_of(8), ['mug'], first=3, warm_up=1)
    assert numbers(timed.masks) == [3, 4, 5, 6, 7] and len(timed.seconds) == 4


def test_operations_are_counted_of_the_last_frames_and_these_are_not_on_the_clock() -> None:
    timed = run(Noted(), clip_of(6), ['mug'], warm_up=1, counted=2)
    assert numbers(timed.masks) == [0, 1, 2, 3, 4, 5]
    assert len(timed.seconds) == 3
    # Five runs of the layer on the last but one, six on the last.
    assert timed.gflop == pytest.approx(2 * 1000 * 4 * 8 * (5 + 6) / 2 / 1e9)


def test_a_frame_on_which_nothing_is_found_has_no_mask() -> None:
    def nothing(_: Clip, number: int, __: Sequence[str]) -> list[np.ndarray | None]:
        return [None, np.zeros((1, 1))] if number else [np.ones((1, 1)), None]

    first, *others = run(nothing, clip_of(3), ['mug', 'ball']).masks
    assert first is not None and others == [None, None]


@pytest.mark.parametrize(
    ('seconds', 'share'),
    [
        ([], 0),
        ([5.5], 0),  # what comes after the last result is not known
        ([0.5, 0.5, 0.5, 0.5], 0),  # faster than the camera, and waits for it
        ([1.0, 1.0, 1.0], 0),  # as fast as the camera
        ([2.5, 1.0, 1.0], 1 / 4),  # 0 until 2.5: 1 is lost; 2 until 3.5, 3 until 4.5
        ([2.0, 2.0, 2.0, 0.1], 3 / 7),  # 0, 2, 4, 6 are answered
        ([3.5, 0.25, 0.25, 0.1], 2 / 6),  # 0, then 3 until 3.75, 4 from 4.0 to 4.25, and 5
        ([0.5, 3.25, 0.1], 2 / 5),  # 0, 1 from 1.0 to 4.25, 4
        ([1.5, 1.5, 1.5, 1.5], 1 / 5),  # 0 to 1.5, 1 to 3.0, 3 to 4.5, 4
    ],
)
def test_frames_are_lost_where_a_newer_one_comes_before_the_model_is_free(
    seconds: list[float], share: float
) -> None:
    assert dropped(seconds, rate=1.0) == pytest.approx(share)
    # The same at the rate of a camera.
    assert dropped([each / 32 for each in seconds], rate=32.0) == pytest.approx(share)


@pytest.fixture(scope='module', params=LAYOUTS)
def small(request: pytest.FixtureRequest) -> SmallModel:
    small = LAYOUTS[request.param]()
    small.model.requires_grad_(False)
    return small


def settings_of(small: SmallModel, schedule: Schedule = Schedule.EXACT) -> EngineSettings:
    frames = small.model.config.reference_frames
    return EngineSettings(
        reference_frames=frames, reference_stride=STRIDE, schedule=schedule, reason_every=3
    )


def streamed_by(small: SmallModel, schedule: Schedule = Schedule.EXACT) -> Answer:
    segmenter = Segmenter(small.model, small.processor, name='small', device=CPU, threshold=0.0)
    return streamed(segmenter, settings_of(small, schedule))


def plain_answer(small: SmallModel, *, threshold: float = 0.0) -> Answer:
    return straightforward(small.model, small.processor, stride=STRIDE, threshold=threshold)


def assert_alike(first: np.ndarray | None, second: np.ndarray | None) -> None:
    """But for pixels on which rounding decides."""
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert (first != second).mean() < 5e-3


def test_the_stream_and_the_authors_procedure_give_the_same_masks(small: SmallModel) -> None:
    clip = clip_of(7)
    stream, plain = streamed_by(small), plain_answer(small)
    for number in range(len(clip)):
        mine = stream(clip, number, clip.instructions)
        its = plain(clip, number, clip.instructions)
        assert len(mine) == len(its) == 2 and mine[0] is not None
        for mask, other in zip(mine, its, strict=True):
            assert_alike(mask, other)


def test_a_schedule_takes_less_than_the_exact_one(small: SmallModel) -> None:
    clip = clip_of(8)
    work = {
        schedule: run(streamed_by(small, schedule), clip, clip.instructions, counted=3).gflop
        for schedule in (Schedule.EXACT, Schedule.TWO_RATE)
    }
    exact, two_rate = work.values()
    naive = run(plain_answer(small), clip, clip.instructions, first=4, counted=3).gflop
    assert naive > exact and exact >= two_rate


@pytest.mark.parametrize(
    ('seconds', 'number', 'shown'),
    [
        (STRIDE, 0, []),
        (STRIDE, 1, [0]),
        (STRIDE, 3, [0, 1, 2]),
        (STRIDE, 6, [2, 3, 4, 5]),
        (STRIDE / 2, 7, [1, 3, 5]),
        (STRIDE / 2, 9, [1, 3, 5, 7]),
    ],
)
def test_the_authors_procedure_shows_earlier_frames_a_stride_apart(
    seconds: float, number: int, shown: list[int]
) -> None:
    small = released_model()
    clip = clip_of(10, seconds=seconds)
    mask, _ = straightforward_frame(
        small.model,
        small.processor,
        [clip.images[index] for index in [*shown, number]],
        clip.instructions[0],
    )
    [answer] = plain_answer(small)(clip, number, clip.instructions[:1])
    assert answer is not None and np.array_equal(answer, mask)


def test_what_the_authors_procedure_is_not_sure_of_is_not_found(small: SmallModel) -> None:
    clip = clip_of(1)
    assert plain_answer(small, threshold=1.1)(clip, 0, clip.instructions) == [None, None]
