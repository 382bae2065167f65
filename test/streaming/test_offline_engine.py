from __future__ import annotations

from typing import Any

import pytest
from color_stream import ColorModel, picture

from instructseg_ros.model.video_stream import ComputeBudget
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.offline_engine import OfflineEngine
from instructseg_ros.streaming.schedule import EngineSettings, Schedule
from instructseg_ros.streaming.segmentation import Segmentation, Source

STEP = 200_000_000


class VideoFile:
    """An offline engine over the small model, frame by frame."""

    def __init__(self, **settings: Any) -> None:
        self.model = ColorModel()
        self.model.gate.set()
        self.engine = OfflineEngine(self.model, EngineSettings(**settings))
        self.stamp = 0

    def follow(self, text: str) -> None:
        self.engine.give(Instruction(text=text, id=text))

    def next(self, *, step: int = STEP, red: bool = True) -> list[Segmentation]:
        self.stamp += step
        return self.engine.segment(picture(red=red), stamp=self.stamp)


def test_every_frame_is_answered_for_each_instruction_in_their_order() -> None:
    video = VideoFile()
    video.follow('find red')
    video.follow('find green')
    for _ in range(5):
        results = video.next()
        assert [(result.instruction.text, result.state.name) for result in results] == [
            ('find red', 'FOUND'),
            ('find green', 'NOT_FOUND'),
        ]
        assert [result.dropped for result in results] == [0, 0]


def test_without_an_instruction_there_is_no_answer_and_no_work() -> None:
    video = VideoFile()
    assert video.next() == []
    assert video.model.encoded == 0


def test_frames_before_the_first_instruction_are_references_and_none_was_dropped() -> None:
    video = VideoFile(reference_frames=2)
    video.next()
    video.next()
    video.follow('find red')
    [result] = video.next()
    assert result.reference_frames == 2
    assert result.dropped == 0


def test_an_instruction_that_comes_later_does_not_touch_the_others() -> None:
    video = VideoFile()
    video.follow('find red')
    [first] = video.next()
    video.follow('find green')
    [last, _] = video.next()
    assert last.instruction is first.instruction
    assert last.track_id == first.track_id > 0


def test_one_instruction_that_fails_does_not_touch_the_others() -> None:
    video = VideoFile()
    video.follow('find red')
    video.follow('explode red')
    for _ in range(3):
        assert [result.state.name for result in video.next()] == ['FOUND', 'FAILED']


def test_two_rate_counts_frames() -> None:
    video = VideoFile(schedule=Schedule.TWO_RATE, reason_every=3)
    video.follow('find red')
    results = [video.next()[0] for _ in range(7)]
    assert [result.mask_age for result in results] == pytest.approx([0, 0.2, 0.4, 0, 0.2, 0.4, 0])
    assert [result.source is Source.INFERRED for result in results] == [
        True,
        False,
        False,
        True,
        False,
        False,
        True,
    ]


def test_fixed_references_stay_for_some_frames() -> None:
    video = VideoFile(schedule=Schedule.FIXED_REFERENCES, reference_frames=2, refresh_every=4)
    video.follow('find red')
    assert [video.next()[0].reference_frames for _ in range(6)] == [0, 1, 2, 2, 2, 2]
    assert video.model.kept == [True] * 6


@pytest.mark.parametrize('schedule', Schedule)
def test_a_video_that_starts_over_is_answered_as_if_it_were_new(schedule: Schedule) -> None:
    video = VideoFile(schedule=schedule, reference_frames=2)
    video.follow('find red')
    takes = []
    for _ in range(2):
        video.stamp = 0
        results = [video.next()[0] for _ in range(8)]
        takes.append([(r.state, r.source, r.mask_age, r.reference_frames) for r in results])
    assert takes[0] == takes[1]


@pytest.mark.parametrize('schedule', [Schedule.EXACT, Schedule.TWO_RATE])
def test_an_age_is_never_negative_when_a_video_starts_over_and_the_model_fails_there(
    schedule: Schedule,
) -> None:
    video = VideoFile(schedule=schedule, reason_every=4, scene_change=1.0)
    video.model.explosive = False
    video.follow('explode red')
    video.stamp = 100 * STEP
    video.next()
    video.stamp = 0
    video.model.explosive = True
    video.next()
    video.model.explosive = False
    ages = [result.mask_age for _ in range(5) for result in video.next()]
    assert [age for age in ages if age < 0] == []


def test_memory_that_runs_out_is_reported_and_the_next_frame_is_answered() -> None:
    video = VideoFile()
    video.follow('find red')
    video.model.room = -1
    with pytest.raises(MemoryError):
        video.next()
    assert video.next()[0].state.name == 'FOUND'


def test_auto_leaves_the_best_budget_when_it_is_too_slow() -> None:
    video = VideoFile(schedule=Schedule.AUTO, target_rate=1e9)
    video.follow('find red')
    assert video.engine.budget == ComputeBudget()
    for _ in range(20):
        video.next()
    assert video.engine.budget.reason_every > 1
