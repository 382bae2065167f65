"""Something that is done again and again, whatever simulated time does."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node


class SteadyTimer:
    """Calls a function periodically by the steady clock."""

    def __init__(self, node: Node, period: float, callback: Callable[[], None]) -> None:
        """Begin; `destroy` ends it.

        Args:
            node: Owner of the timer.
            period: Time from one call to the next, s.
            callback: Is called by the executor of the node.
        """
        self._node = node
        self._timer = node.create_timer(
            period, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def destroy(self) -> None:
        """Call it no more."""
        self._node.destroy_timer(self._timer)
