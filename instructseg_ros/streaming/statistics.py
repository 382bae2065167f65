"""Statistics of the engine: rates, ages, latencies, drops and the last error."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from instructseg_ros.model.frame_buffer import NANO, Frame
from instructseg_ros.streaming.segmentation import Segmentation, State, Timing

WINDOW = 5.0  # s over which a rate is measured
MAX_SAMPLES = 256  # frames and results that are remembered
FAULT_SHOWN = 10.0  # s for which an error of the engine is reported


@dataclass(frozen=True, kw_only=True)
class CameraStatus:
    """Recent images of a camera.

    Attributes:
        rate: Images per second.
        age: Median of their age on arrival, by their stamps, s; negative if the camera's clock is
            ahead.
        silence: Seconds since the last image, infinity if there was none.
        replaced: Number of images so far that newer ones replaced before they were segmented.
        unreadable: Number of images so far that could not be read.
        unstamped: Whether the last image had no stamp.
    """

    rate: float
    age: float
    silence: float
    replaced: int
    unreadable: int
    unstamped: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """Snapshot of the engine's statistics.

    Attributes:
        cameras: Status of each camera, by name.
        latencies: Median and 95th percentile of the time in the model, s; zeros without results.
        ages: Median and 95th percentile of the time from an image's stamp to its result, s.
        results: Number of results of each state so far.
        last_error: Reason of the last FAILED result, '' if there was none.
        faults: Number of errors in the engine itself so far.
        fault: The last of these errors, '' if it is not recent.
    """

    cameras: Mapping[str, CameraStatus]
    latencies: tuple[float, float]
    ages: tuple[float, float]
    results: Mapping[State, int]
    last_error: str
    faults: int
    fault: str


@dataclass(kw_only=True, eq=False)
class _CameraSamples:
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_SAMPLES))
    ages: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_SAMPLES))
    replaced: int = 0
    unreadable: int = 0
    unstamped: bool = False

    def silence(self, now: float) -> float:
        return now - self.arrivals[-1] if self.arrivals else float('inf')

    def status(self, now: float) -> CameraStatus:
        recent = [arrived for arrived in self.arrivals if now - arrived <= WINDOW]
        span = now - recent[0] if recent else 0.0
        return CameraStatus(
            rate=(len(recent) - 1) / span if len(recent) > 1 and span > 0.0 else 0.0,
            age=percentile(self.ages, 0.5),
            silence=self.silence(now),
            replaced=self.replaced,
            unreadable=self.unreadable,
            unstamped=self.unstamped,
        )


class Statistics:
    """Collects the statistics of an engine; thread-safe."""

    def __init__(
        self, cameras: Iterable[str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Create empty statistics for the named cameras; `clock` is a steady clock, s."""
        self._clock = clock
        self._cameras = {name: _CameraSamples() for name in cameras}
        self._latencies: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._ages: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._results: Counter[State] = Counter()
        self._last_error = ''
        self._faults = 0
        self._fault, self._fault_at = '', float('-inf')
        self._lock = threading.Lock()

    def silence(self) -> float:
        """Return the seconds since the last image of any camera, infinity if there was none."""
        now = self._clock()
        with self._lock:
            return min(camera.silence(now) for camera in self._cameras.values())

    def note_frame(self, camera: str, frame: Frame, *, unstamped: bool = False) -> None:
        """Record the arrival of an image, with or without a camera stamp."""
        with self._lock:
            seen = self._cameras[camera]
            seen.unstamped = unstamped
            seen.arrivals.append(frame.arrived)
            if not unstamped:
                seen.ages.append((frame.received - frame.stamp) * 1e-9)

    def note_refusal(self, camera: str, reason: str) -> None:
        """Record an image that could not be read."""
        with self._lock:
            self._cameras[camera].unreadable += 1
            self._last_error = reason

    def note_fault(self, reason: str) -> None:
        """Record an error in the engine itself."""
        with self._lock:
            self._faults += 1
            self._fault, self._fault_at = reason, self._clock()
            self._last_error = reason

    def note_results(self, results: Sequence[Segmentation]) -> None:
        """Record results."""
        with self._lock:
            for result in results:
                self._results[result.state] += 1
                if result.state is State.FAILED:
                    self._last_error = result.reason
                if result.camera in self._cameras:
                    camera = self._cameras[result.camera]
                    camera.replaced = max(camera.replaced, result.dropped)
                if result.timing is not None:
                    self._latencies.append(result.timing.latency)
                    self._ages.append((result.timing.finished - result.timing.captured) * 1e-9)

    def status(self) -> Status:
        """Return a snapshot of the statistics."""
        now = self._clock()
        with self._lock:
            return Status(
                cameras={name: camera.status(now) for name, camera in self._cameras.items()},
                latencies=(percentile(self._latencies, 0.5), percentile(self._latencies, 0.95)),
                ages=(percentile(self._ages, 0.5), percentile(self._ages, 0.95)),
                results=dict(self._results),
                last_error=self._last_error,
                faults=self._faults,
                fault=self._fault if now - self._fault_at < FAULT_SHOWN else '',
            )


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which a share of the values lies; 0 without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Stopwatch:
    """Starts when it is created, and returns the times of results when they are ready.

    If the clock jumps back while a frame is processed, the frame's later times are extrapolated
    from its stamp with the steady clock, so ages are never negative.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        """Start; `clock` gives nanoseconds on the time line of the stamps."""
        self._clock = clock
        self._started = clock()
        self._started_steady = time.monotonic()

    def timing(self, frame: Frame) -> Timing:
        """Return the times of a frame whose result is ready now."""
        latency = time.monotonic() - self._started_steady
        received = max(frame.received, frame.stamp)
        started = _not_before(received, self._started, seconds=self._started_steady - frame.arrived)
        return Timing(
            captured=frame.stamp,
            received=received,
            started=started,
            finished=_not_before(started, self._clock(), seconds=latency),
            latency=latency,
        )


def _not_before(before: int, now: int, *, seconds: float) -> int:
    """Return `now`, or a time extrapolated from `before` if the clock has jumped back, ns."""
    return now if now >= before else before + round(max(0.0, seconds) * NANO)
