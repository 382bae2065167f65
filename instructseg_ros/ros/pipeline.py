"""From cameras and commands through the engine to topics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from instructseg_ros.memory import release_freed_memory
from instructseg_ros.ros.camera_input import CameraInput, image_topic
from instructseg_ros.ros.command_input import CommandInput
from instructseg_ros.ros.desk import Desk
from instructseg_ros.ros.diagnostics import Diagnostics
from instructseg_ros.ros.loading import engine_settings, load_segmenter, transports_of
from instructseg_ros.ros.publishing import ResultPublisher
from instructseg_ros.ros.rest import Rest
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.ros.steady_timer import SteadyTimer
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.labels import Labels
from instructseg_ros.streaming.segmentation import Segmentation, State

LOOK_PERIOD: Final = 0.5  # s, for whether anybody subscribes


class Pipeline:
    """Everything that a configured node holds; it works from `start` to `stop`."""

    def __init__(self, node: LifecycleNode, values: SegmentationParameters, desk: Desk,
                 diagnostics: Diagnostics, labels: Labels, *,
                 warn: Callable[[str], object]) -> None:
        """Load the model and create what publishes results.

        Args:
            node: Owner of topics.
            values: Its parameters.
            desk: Hands in what services and actions ask.
            diagnostics: Tells how it is while it works.
            labels: Numbers of the instructions.
            warn: Is told of images and commands that cannot be used.

        Raises:
            ModelError: The model cannot be loaded; the message names the remedy.
            ParameterError: Parameters contradict each other.
        """
        self._node = node
        self._values = values
        self._desk = desk
        self._diagnostics = diagnostics
        self._warn = warn
        self._transports = transports_of(values)
        self._running: list[CameraInput | CommandInput | Rest | SteadyTimer] = []
        self._segmenter = load_segmenter(values)
        self._own_threshold = self._segmenter.threshold
        self.set_threshold(values.threshold)
        self._results = ResultPublisher(node, values, labels, warn=warn)
        self._topics = {camera: image_topic(node, camera, transport=transport)
                        for camera, transport in self._transports.items()}
        self.engine = Engine(
            self._segmenter, on_results=self._on_results,
            settings=engine_settings(self._segmenter, values, topics=self._topics),
            clock=lambda: node.get_clock().now().nanoseconds,
            on_notice=node.get_logger().info)
        self._enabled = True
        self._lazy = values.lazy

    def start(self) -> None:
        """Begin to listen to the cameras and to commands."""
        self.engine.start()
        self._results.begin()
        self._update_pause()
        for camera, transport in self._transports.items():
            self._running.append(CameraInput(
                self._node, camera, self.engine, transport=transport, warn=self._warn,
                on_header=partial(self._on_header, camera)))
        self._running.append(
            CommandInput(self._node, self.engine, cameras=self._values.cameras))
        self._running.append(
            Rest(self._node, self.engine.statistics, after=self._values.image_timeout))
        # Whoever subscribes shall be told too that no image comes.
        self._running.append(SteadyTimer(self._node, LOOK_PERIOD, self._update_pause))
        self._desk.open(self.engine, self._values.cameras)
        self._diagnostics.begin(self.engine, model=self._segmenter.name, topics=self._topics,
                                timeout=self._values.image_timeout)

    def stop(self) -> None:
        """End live instructions and stop listening; harmless when stopped."""
        with ExitStack() as stops:  # each of them, whatever another one raises
            stops.callback(release_freed_memory)
            stops.callback(self._results.end)
            stops.callback(self.engine.stop)
            while self._running:
                stops.callback(self._running.pop().destroy)
            stops.callback(self._diagnostics.end)

    def destroy(self) -> None:
        """Stop, and hold nothing any more."""
        with ExitStack() as ends:
            ends.callback(self._results.destroy)
            ends.callback(self.stop)
        del self.engine, self._segmenter

    def set_threshold(self, value: float) -> None:
        """Set the least score of a found target; negative: the model's own."""
        self._segmenter.threshold = self._own_threshold if value < 0 else value

    def set_max_rate(self, value: float) -> None:
        """Set the most images a second of each camera that are segmented; 0: no limit."""
        self.engine.max_rate = value

    def set_lazy(self, value: bool) -> None:
        """Segment for live commands only while somebody subscribes to a result."""
        self._lazy = value
        self._update_pause()

    def enable(self, value: bool) -> None:
        """Switch streaming on or off."""
        self._enabled = value
        self._update_pause()

    def _update_pause(self) -> None:
        self.engine.paused = not self._enabled or (self._lazy and not self._results.is_watched())

    def _on_header(self, camera: str, header: Header) -> None:
        self._update_pause()
        self._results.note_image(camera, header)

    def _on_results(self, results: Sequence[Segmentation]) -> None:
        try:
            for result in results:
                if result.state in (State.REJECTED, State.FAILED):
                    self._warn(f'{result.state.name}: {result.reason}')
            self._results.publish(results)
        finally:  # nobody who waits for an answer may wait for ever
            self._desk.pass_on(results)
