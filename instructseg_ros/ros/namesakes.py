"""A warning where two nodes have the same name."""

from __future__ import annotations

from typing import Final

from rclpy.node import Node

from instructseg_ros.ros.steady_timer import SteadyTimer

PERIOD: Final = 2.0  # s


class NamesakeWarning:
    """Warns each time another node appears that has the full name of this one.

    Both would answer the same services and publish the same topics.
    """

    def __init__(self, node: Node) -> None:
        """Begin to look at the names in the ROS graph."""
        self._node = node
        self._others = 0
        self._timer = SteadyTimer(node, PERIOD, self._look)

    def destroy(self) -> None:
        """Stop looking."""
        self._timer.destroy()

    def _look(self) -> None:
        mine = (self._node.get_name(), self._node.get_namespace())
        others = self._node.get_node_names_and_namespaces().count(mine) - 1
        if others > self._others:
            self._node.get_logger().warning(
                f'another node with the name {self._node.get_fully_qualified_name()} runs: both '
                'answer the same services and publish the same topics. Stop one of them, or start '
                'it with another name or namespace: '
                '--ros-args -r __node:=NAME -r __ns:=/NAMESPACE')
        self._others = others
