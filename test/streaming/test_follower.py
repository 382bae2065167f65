from __future__ import annotations

from typing import Any

import pytest
from color_stream import ColorModel, picture

from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.offline_engine import OfflineEngine
from instructseg_ros.streaming.schedule import ComputeBudget, Schedule
from instructseg_ros.streaming.segmentation import Segmentation, Source
from instructseg_ros.streaming.settings import EngineSettings

STEP = 200_000_000


class VideoFile:
    """A follower over the small model, frame by frame."""

    def __init__(self, **settings: Any) -> None:
        self.model = ColorModel()
        self.model.gate.set()
        self.follower = OfflineEngine(self.model, EngineSettings(**settings))
        self.stamp = 0

    def follow(self, text: str) -> None:
        self.follower.follow(Instruction(text=text, id=text))

    def next(self, *, step: int = STEP, red: bool = True) -> list[Segmentation]:
        self.stamp += step
        return self.follower.segment(picture(red=red), stamp=self.stamp, header=self.stamp)


def test_every_frame_is_answered_for_each_instruction_in_their_order() -> None:
    film = VideoFile()
    film.follow('find red')
    film.follow('find green')
    for _ in range(5):
        results = film.next()
        assert [(result.instruction.text, result.state.name) for result in results] == [
            ('find red', 'FOUND'),
            ('find green', 'NOT_FOUND'),
        ]
        assert [result.header for result in results] == [film.stamp] * 2
        assert [result.dropped for result in results] == [0, 0]


def test_without_an_instruction_there_is_no_answer_and_no_work() -> None:
    film = VideoFile()
    assert film.next() == []
    assert film.model.encoded == 0


def test_frames_before_the_first_instruction_are_references_and_none_was_dropped() -> None:
    film = VideoFile(reference_frames=2)
    film.next()
    film.next()
    film.follow('find red')
    [result] = film.next()
    assert result.reference_frames == 2
    assert result.dropped == 0


def test_instructions_come_and_go_without_touching_the_others() -> None:
    film = VideoFile()
    film.follow('find red')
    [first] = film.next()
    film.follow('find green')
    assert len(film.next()) == 2
    film.follower.drop('find green')
    film.follower.drop('never given')
    [last] = film.next()
    assert last.instruction is first.instruction
    assert last.track_id == first.track_id > 0


def test_one_instruction_that_fails_does_not_touch_the_others() -> None:
    film = VideoFile()
    film.follow('find red')
    film.follow('explode red')
    for _ in range(3):
        assert [result.state.name for result in film.next()] == ['FOUND', 'FAILED']


def test_two_rate_counts_frames() -> None:
    film = VideoFile(schedule=Schedule.TWO_RATE, reason_every=3)
    film.follow('find red')
    results = [film.next()[0] for _ in range(7)]
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
    film = VideoFile(schedule=Schedule.FIXED_REFERENCES, reference_frames=2, refresh_every=4)
    film.follow('find red')
    assert [film.next()[0].reference_frames for _ in range(6)] == [0, 1, 2, 2, 2, 2]
    assert film.model.kept == [True] * 6


@pytest.mark.parametrize('schedule', Schedule)
def test_a_film_that_starts_over_is_followed_as_if_it_were_new(schedule: Schedule) -> None:
    film = VideoFile(schedule=schedule, reference_frames=2)
    film.follow('find red')
    takes = []
    for _ in range(2):
        film.stamp = 0
        results = [film.next()[0] for _ in range(8)]
        takes.append([(r.state, r.source, r.mask_age, r.reference_frames) for r in results])
    assert takes[0] == takes[1]


@pytest.mark.parametrize('schedule', [Schedule.EXACT, Schedule.TWO_RATE])
def test_an_age_is_never_negative_when_a_film_starts_over_and_the_model_fails_there(
    schedule: Schedule,
) -> None:
    film = VideoFile(schedule=schedule, reason_every=4, scene_change=1.0)
    film.model.explosive = False
    film.follow('explode red')
    film.stamp = 100 * STEP
    film.next()
    film.stamp = 0
    film.model.explosive = True
    film.next()
    film.model.explosive = False
    ages = [result.mask_age for _ in range(5) for result in film.next()]
    assert [age for age in ages if age < 0] == []


def test_memory_that_runs_out_is_told_and_the_next_frame_is_answered() -> None:
    film = VideoFile()
    film.follow('find red')
    film.model.room = -1
    with pytest.raises(MemoryError):
        film.next()
    assert film.next()[0].state.name == 'FOUND'


def test_auto_leaves_the_best_pace_when_it_is_too_slow() -> None:
    film = VideoFile(schedule=Schedule.AUTO, target_rate=1e9)
    film.follow('find red')
    assert film.follower.budget == ComputeBudget()
    for _ in range(20):
        film.next()
    assert film.follower.budget.reason_every > 1
