"""Messages of several inputs, matched by their stamps: what we need of message_filters."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from instructseg_ros.ros.messages import NANO, stamp_to_nanoseconds

JUMP = NANO  # a stamp that is older than its input's newest by more starts a new recording, ns

Queue = dict[int, Any]  # messages by stamp, ns


class SimpleFilter:
    """Hands what it is given to its callbacks."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., object], *args: Any) -> int:  # noqa: N802
        """Call back with each message, followed by these arguments."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:  # noqa: N802
        """Hand a message, or a set of one of each input, to the callbacks."""
        for callback, arguments in list(self.callbacks.values()):
            callback(*msg, *arguments)


class JumpGuard:
    """Empties queues of what was stamped before the clock jumped back, as when a bag loops.

    Inputs jump one after the other. The first that does takes along what the others still hold;
    what comes after that, from those that have not jumped yet, goes when they do.
    """

    def __init__(self, queues: Sequence[Queue]) -> None:
        self._queues = queues
        self._newest: list[int | None] = [None for _ in queues]
        self._jumps = [0 for _ in queues]

    def note(self, index: int, stamp: int) -> None:
        """Take note of a stamp, ns, of an input, before its message is queued."""
        newest = self._newest[index]
        if newest is not None and stamp < newest - JUMP:
            self._forget_before(index)
            newest = None
        self._newest[index] = stamp if newest is None else max(newest, stamp)

    def _forget_before(self, index: int) -> None:
        for queue, jumps in zip(self._queues, self._jumps, strict=True):
            if jumps <= self._jumps[index]:
                queue.clear()
        self._jumps[index] += 1


class ApproximateTimeSynchronizer(SimpleFilter):
    """Calls back with one message of each input, as soon as there are some stamped closely enough.

    Each message is used once. Of several that fit the one that came last, the nearest to it are
    taken. Thread-safe: inputs may signal, and callbacks run, in any thread.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int, slop: float) -> None:
        """Listen to the inputs.

        Args:
            fs: The inputs; their messages have a header with a stamp.
            queue_size: Messages of each input that wait for the others; the oldest go first.
            slop: Most time between the stamps of a set, s.
        """
        super().__init__()
        self.queues: list[Queue] = [{} for _ in fs]
        self._queue_size = queue_size
        self._slop = round(slop * NANO)
        self._guard = JumpGuard(self.queues)
        self._lock = threading.Lock()
        for index, source in enumerate(fs):
            source.registerCallback(self._add, index)

    def _add(self, message: Any, index: int) -> None:
        stamp = stamp_to_nanoseconds(message.header.stamp)
        with self._lock:
            self._guard.note(index, stamp)
            self._enqueue(self.queues[index], stamp, message)
            found = self._take_match(index, stamp)
        if found:  # without the lock, so that a callback may signal
            self.signalMessage(*found)

    def _enqueue(self, queue: Queue, stamp: int, message: Any) -> None:
        queue[stamp] = message
        while len(queue) > self._queue_size:
            del queue[min(queue)]

    def _take_match(self, index: int, stamp: int) -> list[Any]:
        """Remove and return a set with a message that just came, or nothing."""
        if stamp not in self.queues[index]:
            return []
        choices = [
            [stamp] if queue is self.queues[index] else list(_neighbours(queue, stamp))
            for queue in self.queues
        ]
        for stamps in itertools.product(*choices):
            if max(stamps) - min(stamps) <= self._slop:
                return [queue.pop(each) for queue, each in zip(self.queues, stamps, strict=True)]
        return []


def _neighbours(queue: Queue, stamp: int) -> Iterator[int]:
    """Yield the nearest stamps before and after one, the nearer first.

    No others need be tried: each is nearer than all that lie on its side.
    """
    before = max((other for other in queue if other <= stamp), default=None)
    after = min((other for other in queue if other > stamp), default=None)
    found = [other for other in (before, after) if other is not None]
    yield from sorted(found, key=lambda other: abs(other - stamp))
