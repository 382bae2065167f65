from __future__ import annotations

import pytest
from color_stream import picture

from instructseg_ros.model.frame_buffer import Frame
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation, State, Timing
from instructseg_ros.streaming.statistics import FAULT_SHOWN, Statistics, percentile


def frame(arrived: float, *, age: float = 0.0) -> Frame:
    return Frame(image=picture(), stamp=10**9, received=10**9 + int(age * 1e9), arrived=arrived)


def answer(state: State, *, latency: float = 0.1, dropped: int = 0) -> Segmentation:
    return Segmentation(
        instruction=Instruction(text='find red'),
        state=state,
        reason='too dark',
        camera='front',
        dropped=dropped,
        mask=picture()[..., 0] > 0,
        timing=Timing(captured=0, received=0, started=0, finished=200_000_000, latency=latency),
    )


def test_a_camera_that_never_showed_anything_is_silent() -> None:
    statistics = Statistics(['front'])
    [camera] = statistics.status().cameras.values()
    assert statistics.silence() == float('inf')
    assert (camera.rate, camera.age, camera.silence) == (0.0, 0.0, float('inf'))


def test_rate_age_and_silence_are_those_of_the_last_images() -> None:
    now = 1000.0
    statistics = Statistics(['front', 'wrist'], clock=lambda: now)
    for back in (100.0, 2.0, 1.5, 1.0, 0.5):
        statistics.note_frame('front', frame(now - back, age=0.25))
    front = statistics.status().cameras['front']
    assert front.rate == pytest.approx(1.5)
    assert front.age == pytest.approx(0.25)
    assert front.silence == pytest.approx(0.5)
    assert statistics.status().cameras['wrist'].rate == 0.0
    assert statistics.silence() == pytest.approx(0.5)


def test_images_without_a_stamp_have_no_age() -> None:
    statistics, now = Statistics(['front']), 1000.0
    statistics.note_frame('front', frame(now, age=5.0))
    for _ in range(3):
        statistics.note_frame('front', frame(now), unstamped=True)
    front = statistics.status().cameras['front']
    assert (front.age, front.unstamped) == (pytest.approx(5.0), True)


def test_results_are_counted_and_the_last_error_is_kept() -> None:
    statistics = Statistics(['front'])
    statistics.note_results([answer(State.FOUND, latency=0.1), answer(State.FAILED, latency=0.3)])
    statistics.note_results([answer(State.FOUND, latency=0.2, dropped=7)])
    statistics.note_refusal('front', 'unreadable')
    status = statistics.status()
    assert status.results == {State.FOUND: 2, State.FAILED: 1}
    assert status.latencies == (0.2, 0.3)
    assert status.ages == (0.2, 0.2)
    assert (status.cameras['front'].replaced, status.cameras['front'].unreadable) == (7, 1)
    assert status.last_error == 'unreadable'


@pytest.mark.parametrize(
    ('values', 'share', 'value'),
    [
        ([], 0.5, 0.0),
        ([3.0], 0.95, 3.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 3.0),
        (list(range(100)), 0.95, 95),
    ],
)
def test_a_percentile_is_one_of_the_values(values: list[float], share: float, value: float) -> None:
    assert percentile(values, share) == value


def test_a_fault_of_the_engine_is_shown_for_a_while_and_counted() -> None:
    now = [1000.0]
    statistics = Statistics(['front'], clock=lambda: now[0])
    statistics.note_fault('a bug')
    assert (statistics.status().fault, statistics.status().faults) == ('a bug', 1)
    now[0] += FAULT_SHOWN
    assert (statistics.status().fault, statistics.status().faults) == ('', 1)
    assert statistics.status().last_error == 'a bug'
