"""The Updater of the package diagnostic_updater, or where that is missing one with its calls."""

from __future__ import annotations

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

try:
    from diagnostic_updater import DiagnosticStatusWrapper, Updater
except ImportError:

    class DiagnosticStatusWrapper(DiagnosticStatus):  # type: ignore[no-redef]
        """A status that is filled in bit by bit."""

        def summary(self, level: bytes, message: str) -> None:
            """Set level and message."""
            self.level = level
            self.message = message

        def add(self, key: str, value: str) -> None:
            """Add a value."""
            self.values.append(KeyValue(key=key, value=value))

    class Updater:  # type: ignore[no-redef]
        """Publishes the status of each task on `/diagnostics`, once a second."""

        def __init__(self, node: Node) -> None:
            """Begin with no task."""
            self._node = node
            self._hardware_id = ''
            self._tasks: dict[str, Callable[[DiagnosticStatusWrapper], object]] = {}
            self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 1)
            node.create_timer(1.0, self._publish)

        def setHardwareID(self, hardware_id: str) -> None:  # noqa: N802
            """Set what the statuses are about."""
            self._hardware_id = hardware_id

        def add(self, name: str, task: Callable[[DiagnosticStatusWrapper], object]) -> None:
            """Call a task with a status to fill in, whenever it is published."""
            self._tasks[name] = task

        def removeByName(self, name: str) -> None:  # noqa: N802
            """Publish the status of a task no longer."""
            self._tasks.pop(name, None)

        def _publish(self) -> None:
            array = DiagnosticArray()
            array.header.stamp = self._node.get_clock().now().to_msg()
            for name, task in self._tasks.items():
                status = DiagnosticStatusWrapper(
                    name=f'{self._node.get_name()}: {name}', hardware_id=self._hardware_id)
                task(status)
                array.status.append(status)
            self._publisher.publish(array)

__all__ = ['DiagnosticStatusWrapper', 'Updater']
