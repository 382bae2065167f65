from __future__ import annotations

import time
from itertools import pairwise

import pytest
from color_stream import frame

from instructseg_ros.model.frame_buffer import Frame
from instructseg_ros.streaming.segmentation import Timing
from instructseg_ros.streaming.statistics import Stopwatch

SECOND = 10**9


def arrived(*, stamp: float, received: float, ago: float = 0.5) -> Frame:
    """A frame with times in s, that arrived some seconds ago."""
    made = frame(round(stamp * SECOND), arrived=time.monotonic() - ago)
    made.received = round(received * SECOND)
    return made


def timed(made: Frame, *, started: float, finished: float) -> Timing:
    """The times of a result on it, given what the engine's clock shows, s."""
    shown = iter([started, finished])
    return Stopwatch(lambda: round(next(shown) * SECOND)).timing(made)


def order(timing: Timing) -> list[int]:
    return [timing.captured, timing.received, timing.started, timing.finished]


def test_times_are_those_of_the_clock() -> None:
    timing = timed(arrived(stamp=100.0, received=100.1), started=100.2, finished=100.5)
    assert order(timing) == [round(each * SECOND) for each in (100.0, 100.1, 100.2, 100.5)]


@pytest.mark.parametrize(('started', 'finished'), [(94.2, 94.3), (100.2, 94.3), (94.2, 200.0)])
def test_a_frame_in_flight_when_the_clock_jumps_back_has_no_negative_age(
    started: float, finished: float
) -> None:
    timing = timed(arrived(stamp=100.0, received=100.1), started=started, finished=finished)
    assert all(before <= after for before, after in pairwise(order(timing)))
    assert timing.started >= 100.2 * SECOND


def test_a_frame_on_its_way_when_the_clock_jumped_back_has_no_negative_age() -> None:
    timing = timed(arrived(stamp=100.0, received=0.1, ago=0.25), started=0.2, finished=0.3)
    assert all(before <= after for before, after in pairwise(order(timing)))
    assert timing.received == timing.captured
    assert timing.started == pytest.approx(100.25 * SECOND, abs=10 * SECOND)
