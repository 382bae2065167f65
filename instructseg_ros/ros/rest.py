"""What a node gives back while its cameras rest."""

from __future__ import annotations

from typing import Final

from rclpy.node import Node

from instructseg_ros.memory import release_freed_memory
from instructseg_ros.ros.steady_timer import SteadyTimer
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
        self._statistics = statistics
        self._after = after
        self._resting = False
        self._timer = SteadyTimer(node, PERIOD, self._look)

    def destroy(self) -> None:
        """Stop watching."""
        self._timer.destroy()

    def _look(self) -> None:
        before, self._resting = self._resting, self._statistics.silence() > self._after
        if self._resting and not before:
            release_freed_memory()
