"""What a node gives back while its cameras rest."""

from __future__ import annotations

from typing import Final

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from instructseg_ros.memory import release_freed_memory
from instructseg_ros.streaming.statistics import Statistics

PERIOD: Final = 0.5  # s


class Rest:
    """Gives freed memory back, once, when no camera has sent an image for a while."""

    def __init__(self, node: Node, statistics: Statistics, *, after: float) -> None:
        """Begin to watch.

        Args:
            node: Owner of the timer.
            statistics: Know when the last image came.
            after: Silence that counts as rest, s.
        """
        self._node = node
        self._statistics = statistics
        self._after = after
        self._resting = False
        # Silence is of the steady clock, whatever the simulation's does.
        self._timer = node.create_timer(
            PERIOD, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def destroy(self) -> None:
        """Stop watching."""
        self._node.destroy_timer(self._timer)

    def _look(self) -> None:
        before, self._resting = self._resting, self._statistics.silence() > self._after
        if self._resting and not before:
            release_freed_memory()
