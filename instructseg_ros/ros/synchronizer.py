"""Matches messages of several topics by their stamps, and explains why some do not match."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from rclpy.duration import Duration

from instructseg_ros.ros.approximate_time import JumpGuard, Queue
from instructseg_ros.ros.messages import NANO, stamp_to_nanoseconds

try:
    import message_filters
    from message_filters import SimpleFilter
except ImportError:
    from instructseg_ros.ros.approximate_time import ApproximateTimeSynchronizer, SimpleFilter
else:

    class ApproximateTimeSynchronizer(  # type: ignore[no-redef]
        message_filters.ApproximateTimeSynchronizer
    ):
        """The public one, with the behaviour of ours.

        By itself it

        - finds nothing after a jump back until the stamps have caught up with its full queues,
        - calls back with its lock held: for ever if the callback raises or signals a message,
        - takes only sets that are less than the slop apart, so none with a slop of 0.
        """

        def __init__(self, fs: Sequence[SimpleFilter], queue_size: int, slop: float) -> None:
            """Listen to the inputs, of whose messages `queue_size` wait; `slop` in s."""
            self._own_lock = threading.Lock()
            self._found: list[tuple[Any, ...]] = []
            with self._own_lock:  # until the rest is there
                super().__init__(fs, queue_size, slop)
                self.slop = Duration(nanoseconds=round(slop * NANO) + 1)
                self._guard = JumpGuard(self.queues)

        def add(self, msg: Any, my_queue: Queue, my_queue_index: int) -> None:
            """Queue a message, and call back with the set that it completes."""
            with self._own_lock:
                self._guard.note(my_queue_index, stamp_to_nanoseconds(msg.header.stamp))
                super().add(msg, my_queue, my_queue_index)
                found, self._found = self._found, []
            for messages in found:
                super().signalMessage(*messages)

        def signalMessage(self, *msg: Any) -> None:  # noqa: N802
            """Keep a set until the locks are free."""
            self._found.append(msg)


__all__ = ['ApproximateTimeSynchronizer', 'SimpleFilter']


PATIENCE: Final = 3.0  # s without a match, or without a message, after which it is reported
RECOVERY: Final = 60.0  # s of matches without a fault, after which a known one is reported again
MIN_IMAGES: Final = 3  # without a match, so that a slow camera is given its time
HISTORY: Final = 256  # messages of each topic that are remembered

Arrivals = dict[int, float]  # stamp in ns -> when its message arrived, s of a steady clock


class Fault(NamedTuple):
    """Why images are without a match.

    Attributes:
        kind: The same for the same fault of the same topic.
        reason: In words.
    """

    kind: str
    reason: str


class MatchWatch:
    """Sees the stamps of images and of what belongs to them, and reports each fault once.

    Thread-safe.
    """

    def __init__(
        self,
        topics: Sequence[str],
        *,
        slop: float,
        queue: int,
        warn: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with nothing seen.

        Args:
            topics: Resolved names of the topics whose messages belong to images.
            slop: Most time between the stamps of what matches, s (sync_slop).
            queue: Messages that wait for those that match them (sync_queue).
            warn: Takes the report.
            clock: A steady clock, s.
        """
        self._slop = slop
        self._queue = queue
        self._warn = warn
        self._clock = clock
        self._images: Arrivals = {}
        self._others: dict[str, Arrivals] = {topic: {} for topic in topics}
        self._reported: set[str] = set()  # kinds of faults
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Forget everything, as when listening begins."""
        with self._lock:
            for arrivals in (self._images, *self._others.values()):
                arrivals.clear()
            self._reported.clear()
            self._looked = self._faulted = self._clock()
            self._unmatched = 0

    def note_match(self) -> None:
        """Take note that an image got everything that belongs to it."""
        with self._lock:
            self._looked = self._clock()
            self._unmatched = 0
            if self._looked - self._faulted > RECOVERY:
                self._reported.clear()

    def note(self, topic: str, stamp: int) -> None:
        """Take note of a message on one of the topics, stamped in ns."""
        with self._lock:
            self._remember(self._others[topic], stamp)

    def note_image(self, stamp: int) -> None:
        """Take note of an image, and report if it has been too long since one matched."""
        with self._lock:
            self._remember(self._images, stamp)
            self._unmatched += 1
            is_due = self._unmatched >= MIN_IMAGES and self._clock() - self._looked > PATIENCE
            if is_due:
                self._looked = self._clock()
        if is_due:
            self.report()

    def report(self) -> None:
        """Say why images are without a match, unless that fault is known."""
        with self._lock:
            if not self._images:
                return
            fault = self._fault()
            is_new = fault.kind not in self._reported
            self._reported.add(fault.kind)
            self._faulted = self._clock()
        if is_new:
            self._warn(f'no points, poses or 3-D boxes for some images: {fault.reason}')

    def _fault(self) -> Fault:
        """Return what is wrong with the one topic that keeps images from a match."""
        for topic, arrivals in self._others.items():
            if not arrivals:
                return Fault(
                    f'{topic} missing',
                    (
                        f'no message has come on {topic}; check that it is published under this '
                        f"name, and that its driver's transport is set up (see README)"
                    ),
                )
            silence = self._clock() - max(arrivals.values())
            if silence > PATIENCE:
                return Fault(
                    f'{topic} silent',
                    (f'no message for {silence:.1f} s on {topic}; check its driver'),
                )
        return self._stamp_fault() or self._delay_fault()

    def _remember(self, arrivals: Arrivals, stamp: int) -> None:
        arrivals[stamp] = self._clock()
        while len(arrivals) > HISTORY:
            del arrivals[next(iter(arrivals))]

    def _stamp_fault(self) -> Fault | None:
        """Return which topic lacks messages stamped as the images are."""
        offsets = {topic: self._offsets(arrivals) for topic, arrivals in self._others.items()}
        lacking = {topic: off[off > self._slop] for topic, off in offsets.items()}
        topic = max(lacking, key=lambda each: len(lacking[each]) / max(1, len(offsets[each])))
        if not len(lacking[topic]):
            return None
        return Fault(
            f'{topic} unmatched',
            (
                f'{len(lacking[topic])} of {len(offsets[topic])} images have no message on {topic} '
                f'stamped within {self._slop:g} s (sync_slop), the nearest is '
                f'{np.median(lacking[topic]):.3f} s off; publish one for each image with its '
                f'stamp, or raise sync_slop'
            ),
        )

    def _delay_fault(self) -> Fault:
        delays = {topic: self._delay(arrivals) for topic, arrivals in self._others.items()}
        topic = max(delays, key=lambda each: delays[each])
        return Fault(
            f'{topic} late',
            (
                f'messages on {topic} come {delays[topic]:.2f} s after their images, of which '
                f'{self._queue} wait (sync_queue); raise sync_queue'
            ),
        )

    def _offsets(self, arrivals: Arrivals) -> np.ndarray:
        """Return how far the nearest message is from each image that could have one, s."""
        stamps = np.array(sorted(arrivals))
        images = np.array(sorted(self._images))
        over = images[images <= stamps[-1]]  # messages for later ones may be on their way
        images = over if len(over) else images
        return np.abs(images[:, None] - stamps).min(1) / NANO

    def _delay(self, arrivals: Arrivals) -> float:
        """Return how long after its image the latest message came that has one, s."""
        images = np.array(list(self._images))
        delays = [0.0]
        for stamp, arrived in arrivals.items():
            nearest = int(images[np.abs(images - stamp).argmin()])
            if abs(nearest - stamp) <= self._slop * NANO:
                delays.append(arrived - self._images[nearest])
        return max(delays)
