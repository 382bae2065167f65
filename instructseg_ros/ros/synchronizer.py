"""The synchronizer of the package message_filters, or where that is missing one with its calls."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

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
            message_filters.ApproximateTimeSynchronizer):
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
