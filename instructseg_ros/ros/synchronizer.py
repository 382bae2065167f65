"""Approximate-time synchronization by message_filters, or by a fallback where it is missing."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from rclpy.duration import Duration

from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.ros.messages import stamp_to_nanoseconds

try:
    import message_filters
except ImportError:
    message_filters = None

# In ns; a stamp that is older than its input's newest one by more than this is a clock jump.
MAX_DISORDER: Final = NANO

Queue = dict[int, Any]  # messages by stamp, ns


class ClockJumpGuard:
    """Empties message queues when the clock jumps back, as when a bag loops.

    Inputs jump one after the other. The first jump empties all queues; messages from before the
    jump that arrive later are dropped when their own input jumps.
    """

    def __init__(self, queues: Sequence[Queue]) -> None:
        self._queues = queues
        self._newest: list[int | None] = [None for _ in queues]
        self._jumps = [0 for _ in queues]

    def note(self, index: int, stamp: int) -> None:
        """Record the stamp, ns, of a message of an input before it is queued."""
        newest = self._newest[index]
        if newest is not None and stamp < newest - MAX_DISORDER:
            self._empty_queues(index)
            newest = None
        self._newest[index] = stamp if newest is None else max(newest, stamp)

    def _empty_queues(self, index: int) -> None:
        for queue, jumps in zip(self._queues, self._jumps, strict=True):
            if jumps <= self._jumps[index]:
                queue.clear()
        self._jumps[index] += 1


class FallbackFilter:
    """Passes messages to registered callbacks, as message_filters.SimpleFilter does."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., object], *args: Any) -> int:  # noqa: N802
        """Call back with each message, followed by these arguments."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:  # noqa: N802
        """Pass a message, or one message of each input, to the callbacks."""
        for callback, arguments in list(self.callbacks.values()):
            callback(*msg, *arguments)


class FallbackSynchronizer(FallbackFilter):
    """Calls back with one message of each input as soon as all their stamps are close enough.

    Each message is used at most once. The newest message is matched with the messages nearest to
    it. Thread-safe: inputs may signal, and callbacks run, in any thread.
    """

    def __init__(self, fs: Sequence[FallbackFilter], queue_size: int, slop: float) -> None:
        """Connect to the inputs.

        Args:
            fs: Inputs; their messages have a header with a stamp.
            queue_size: Messages of each input that wait for the others; the oldest are dropped.
            slop: Longest time between the stamps of a match, s.
        """
        super().__init__()
        self.queues: list[Queue] = [{} for _ in fs]
        self._queue_size = queue_size
        self._slop = round(slop * NANO)
        self._guard = ClockJumpGuard(self.queues)
        self._lock = threading.Lock()
        for index, source in enumerate(fs):
            source.registerCallback(self._add, index)

    def _add(self, message: Any, index: int) -> None:
        stamp = stamp_to_nanoseconds(message.header.stamp)
        queue = self.queues[index]
        with self._lock:
            self._guard.note(index, stamp)
            queue[stamp] = message
            while len(queue) > self._queue_size:
                del queue[min(queue)]
            match = self._take_match(index, stamp) if stamp in queue else []
        if match:  # without the lock: the callback may signal another message
            self.signalMessage(*match)

    def _take_match(self, index: int, stamp: int) -> list[Any]:
        """Remove and return the match that includes a new message; [] if there is none."""
        choices = [
            [stamp] if queue is self.queues[index] else list(_neighbours(queue, stamp))
            for queue in self.queues
        ]
        for stamps in itertools.product(*choices):
            if max(stamps) - min(stamps) <= self._slop:
                return [queue.pop(each) for queue, each in zip(self.queues, stamps, strict=True)]
        return []


def _neighbours(queue: Queue, stamp: int) -> Iterator[int]:
    """Yield the nearest stamps before and after a stamp, the nearer one first.

    Trying these two is enough: every other stamp on the same side is farther away.
    """
    before = max((other for other in queue if other <= stamp), default=None)
    after = min((other for other in queue if other > stamp), default=None)
    found = [other for other in (before, after) if other is not None]
    yield from sorted(found, key=lambda other: abs(other - stamp))


if message_filters is None:
    SimpleFilter, ApproximateTimeSynchronizer = FallbackFilter, FallbackSynchronizer
else:
    SimpleFilter = message_filters.SimpleFilter

    class ApproximateTimeSynchronizer(  # type: ignore[no-redef]
        message_filters.ApproximateTimeSynchronizer
    ):
        """The synchronizer of message_filters, with the behaviour of the fallback.

        The original finds no match after a clock jump until the stamps have caught up with its
        full queues, holds its lock while it calls back (a callback that raises or signals a
        message blocks it forever), and never matches with a slop of 0.
        """

        def __init__(self, fs: Sequence[Any], queue_size: int, slop: float) -> None:
            """Connect to the inputs; the arguments are those of FallbackSynchronizer."""
            self._own_lock = threading.Lock()
            self._matches: list[tuple[Any, ...]] = []
            with self._own_lock:  # no message may arrive before the guard exists
                super().__init__(fs, queue_size, slop)
                self.slop = Duration(nanoseconds=round(slop * NANO) + 1)
                self._guard = ClockJumpGuard(self.queues)

        def add(self, msg: Any, my_queue: Queue, my_queue_index: int) -> None:
            """Queue a message, and call back with the match that it completes."""
            with self._own_lock:
                self._guard.note(my_queue_index, stamp_to_nanoseconds(msg.header.stamp))
                super().add(msg, my_queue, my_queue_index)
                matches, self._matches = self._matches, []
            for match in matches:
                super().signalMessage(*match)

        def signalMessage(self, *msg: Any) -> None:  # noqa: N802
            """Keep a match until the locks are free."""
            self._matches.append(msg)
