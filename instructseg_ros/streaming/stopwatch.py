"""The times of work on frames, in order whatever the engine's clock does meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

from instructseg_ros.streaming.frame_buffer import Frame
from instructseg_ros.streaming.segmentation import Timing

NANO = 10**9


class Stopwatch:
    """Starts when it is made, and gives the times of each result that becomes ready.

    If the clock jumps back while a frame is in flight, its later times are extrapolated from the
    stamp with the steady clock, so ages are never negative.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        """Start; `clock` gives nanoseconds on the time line of the stamps."""
        self._clock = clock
        self._started = clock()
        self._begun = time.monotonic()

    def timing(self, frame: Frame) -> Timing:
        """Return the times of a result on a frame that is ready."""
        latency = time.monotonic() - self._begun
        received = max(frame.received, frame.stamp)
        started = _go_on(received, self._started, seconds=self._begun - frame.arrived)
        return Timing(
            captured=frame.stamp, received=received, started=started,
            finished=_go_on(started, self._clock(), seconds=latency), latency=latency)


def _go_on(before: int, now: int, *, seconds: float) -> int:
    """Return the time now, ns, or where the clock shows less than before, what it would show."""
    return now if now >= before else before + round(max(0.0, seconds) * NANO)
