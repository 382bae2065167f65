"""Publishes the state of the node on `/diagnostics`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from instructseg_ros.model.process_memory import resident_memory
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.segmentation import State
from instructseg_ros.streaming.statistics import CameraStatus

try:
    from diagnostic_updater import DiagnosticStatusWrapper, Updater
except ImportError:

    class DiagnosticStatusWrapper(DiagnosticStatus):  # type: ignore[no-redef]
        """Replaces diagnostic_updater where that is not installed."""

        def summary(self, level: bytes, message: str) -> None:
            """Set level and message."""
            self.level = level
            self.message = message

        def add(self, key: str, value: str) -> None:
            """Add a value."""
            self.values.append(KeyValue(key=key, value=value))

    class Updater:  # type: ignore[no-redef]
        """Publishes the status of each task on `/diagnostics` once a second."""

        def __init__(self, node: Node) -> None:
            """Create the publisher, without tasks."""
            self._node = node
            self._hardware_id = ''
            self._tasks: dict[str, Callable[[DiagnosticStatusWrapper], object]] = {}
            self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 1)
            node.create_timer(1.0, self._publish)

        def setHardwareID(self, hardware_id: str) -> None:  # noqa: N802
            """Set the hardware id of every status."""
            self._hardware_id = hardware_id

        def add(self, name: str, task: Callable[[DiagnosticStatusWrapper], object]) -> None:
            """Add a task, which is called with a status to fill in."""
            self._tasks[name] = task

        def removeByName(self, name: str) -> None:  # noqa: N802
            """Remove a task."""
            self._tasks.pop(name, None)

        def _publish(self) -> None:
            array = DiagnosticArray()
            array.header.stamp = self._node.get_clock().now().to_msg()
            for name, task in self._tasks.items():
                status = DiagnosticStatusWrapper(
                    name=f'{self._node.get_name()}: {name}', hardware_id=self._hardware_id
                )
                task(status)
                array.status.append(status)
            self._publisher.publish(array)


OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
NO_INSTRUCTION: Final = 'none; after a restart, send commands again'
MAX_AGE: Final = 1.0  # s; if images are older on arrival, their stamps or transport are suspect


class Diagnostics:
    """Reports the state of the model and, while the node is active, of each camera."""

    def __init__(self, node: Node, *, why_closed: Callable[[], str]) -> None:
        """Start publishing.

        Args:
            node: Owner of the topic.
            why_closed: Returns why the node is not active; '' when it is.
        """
        self._why_closed = why_closed
        self._engine: Engine | None = None
        self._model = ''
        self._tasks: list[str] = []
        self._updater = Updater(node)
        self._updater.setHardwareID(node.get_fully_qualified_name())
        self._updater.add('segmentation', self._describe)

    def start(
        self, engine: Engine, *, model: str, topics: Mapping[str, str], timeout: float
    ) -> None:
        """Report a running engine.

        Args:
            engine: The engine.
            model: Name of the model.
            topics: Name of each camera -> its image topic.
            timeout: Time without images after which a camera is reported, s.
        """
        self._engine, self._model = engine, model
        for camera, topic in topics.items():

            def describe(
                status: DiagnosticStatusWrapper, camera: str = camera, topic: str = topic
            ) -> DiagnosticStatusWrapper:
                seen = engine.statistics.status().cameras[camera]
                return describe_camera(status, seen, topic=topic, timeout=timeout)

            self._tasks.append(f'camera {camera}'.strip())
            self._updater.add(self._tasks[-1], describe)

    def stop(self) -> None:
        """Report only that the node is not active."""
        self._engine = None
        for task in self._tasks:
            self._updater.removeByName(task)
        self._tasks.clear()

    def _describe(self, status: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        reason = self._why_closed()
        if self._engine is not None and not reason:
            return describe_engine(status, self._engine, model=self._model)
        status.summary(ERROR if reason.startswith('cannot') else WARN, reason)
        return status


def describe_engine(
    status: DiagnosticStatusWrapper, engine: Engine, *, model: str
) -> DiagnosticStatusWrapper:
    """Report the model: its latency, the active instructions and the last error."""
    now = engine.statistics.status()
    live = engine.active()
    count = f'{len(live)} active' if live else 'no instruction is active'
    if now.fault:
        status.summary(ERROR, now.fault)
    else:
        status.summary(OK, f'{count}, {"paused" if engine.paused else "streaming"}')
    median, slow = (1e3 * latency for latency in now.latencies)
    young, old = (1e3 * age for age in now.ages)
    for key, value in (
        ('model', model),
        ('budget', str(engine.budget)),
        ('active instructions', ', '.join(each.id for each in live) or NO_INSTRUCTION),
        ('latency p50 (ms)', f'{median:.1f}'),
        ('latency p95 (ms)', f'{slow:.1f}'),
        ('age of results p50 (ms)', f'{young:.1f}'),
        ('age of results p95 (ms)', f'{old:.1f}'),
        ('memory (MB)', f'{resident_memory() / 1e6:.0f}'),
        *(
            (f'results {state.name}', str(now.results.get(state, 0)))
            for state in State
            if state is not State.UNKNOWN
        ),
        ('faults of the engine', str(now.faults)),
        ('last error', now.last_error),
    ):
        status.add(key, value)
    return status


def describe_camera(
    status: DiagnosticStatusWrapper, camera: CameraStatus, *, topic: str, timeout: float
) -> DiagnosticStatusWrapper:
    """Report the images of a camera.

    Args:
        status: The status to fill in.
        camera: State of the camera.
        topic: Topic of its images.
        timeout: Time without images after which it is reported, s.
    """
    problems = list(_problems(camera, topic, timeout))
    status.summary(
        WARN if problems else OK, '; '.join(problems) or f'{camera.rate:.1f} images per second'
    )
    for key, value in (
        ('topic', topic),
        ('rate (Hz)', f'{camera.rate:.1f}'),
        ('age on arrival (ms)', f'{1e3 * camera.age:.1f}'),
        ('dropped: replaced by newer images', str(camera.replaced)),
        ('dropped: unreadable', str(camera.unreadable)),
    ):
        status.add(key, value)
    return status


def _problems(camera: CameraStatus, topic: str, timeout: float) -> Iterator[str]:
    if camera.silence > timeout:
        yield (
            f'no image on {topic} for {camera.silence:.0f} s'
            if camera.silence < float('inf')
            else f'no image on {topic} so far'
        )
    elif camera.unstamped:
        yield (
            f'images on {topic} have no stamp (all zeros); let the camera driver set '
            f'header.stamp to the time of exposure'
        )
    elif abs(camera.age) > MAX_AGE:
        yield (
            f'images arrive {camera.age:.1f} s after their stamps; check the clocks and '
            f'use_sim_time'
        )
