"""From cameras and commands through the engine to topics."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from std_msgs.msg import Header

from instructseg_ros.model.memory import release_freed_memory
from instructseg_ros.ros import running as stopping
from instructseg_ros.ros.diagnostics import Diagnostics
from instructseg_ros.ros.inputs import CameraInput, CommandInput, image_topic
from instructseg_ros.ros.outputs import ResultPublisher
from instructseg_ros.ros.parameters import ParameterError
from instructseg_ros.ros.requests import RequestBroker
from instructseg_ros.ros.running import SteadyTimer
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.labels import Labels
from instructseg_ros.streaming.schedule import Schedule
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.streaming.settings import EngineSettings
from instructseg_ros.streaming.statistics import Statistics

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter


PERIOD: Final = 0.5  # s


class IdleMemoryTrimmer:
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


WARM_UP_SIZE = (480, 640, 3)
CAMERA_NAME = re.compile(r'[A-Za-z]\w*(/[A-Za-z]\w*)*', re.ASCII)


def load_segmenter(values: SegmentationParameters) -> Segmenter:
    """Load the model and run it once, so that the first real frame is not slow.

    Raises:
        ModelError: The model cannot be loaded; the message names the remedy.
        StopRequested: The process was asked to stop meanwhile.
    """
    # torch and transformers take seconds to import and are needed from here on only.
    import torch

    stopping.check()
    from instructseg_ros.model.segmenter import Segmenter

    torch.set_num_threads(values.threads or max(1, len(os.sched_getaffinity(0)) - 1))
    with stopping.interruptible():
        segmenter = Segmenter.from_pretrained(
            values.model, device=values.device, dtype=values.dtype, compiled=values.compiled
        )
        image = np.zeros(WARM_UP_SIZE, np.uint8)
        [features] = segmenter.encode([image])
        references = [features] * segmenter.reference_frames
        segmenter.segment(image, 'the red mug', references, features=features)
    return segmenter


def free_segmenter_memory() -> None:
    """Give back the memory of a segmenter that nothing holds any more, also that of a GPU."""
    gc.collect()
    torch = sys.modules.get('torch')  # to import it takes seconds
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    release_freed_memory()


def engine_settings(
    segmenter: Segmenter, values: SegmentationParameters, *, topics: Mapping[str, str]
) -> EngineSettings:
    """Return the engine's settings.

    Args:
        segmenter: The model.
        values: The node's parameters.
        topics: Name of each camera -> what its stream is called to people.
    """
    return EngineSettings.from_model(
        segmenter,
        topics=topics,
        **_own_references(values),
        max_age=values.max_age,
        image_timeout=values.image_timeout,
        max_instructions=values.max_instructions,
        max_rate=values.max_rate,
        schedule=Schedule(values.schedule),
        reason_every=values.reason_every,
        refresh_every=values.refresh_every,
        scene_change=values.scene_change,
        target_rate=values.target_rate,
        target_latency=values.target_latency,
    )


def _own_references(values: SegmentationParameters) -> dict[str, float]:
    """Return what the parameters say of reference frames; negative ones leave it to the model."""
    own: dict[str, float] = {}
    if values.reference_frames >= 0:
        own['reference_frames'] = values.reference_frames
    if values.reference_stride >= 0:
        own['reference_stride'] = own['max_reference_stride'] = values.reference_stride
    return own


def transports_of(values: SegmentationParameters) -> dict[str, str]:
    """Return the name of each camera and how its images come.

    Raises:
        ParameterError: The names are not usable, or the numbers of both do not fit.
    """
    cameras, transports = values.cameras, values.image_transports
    if not cameras or len(set(cameras)) < len(cameras) or ('' in cameras and len(cameras) > 1):
        raise ParameterError(
            f'cameras {list(cameras)} must be different names, or one empty name for one camera'
        )
    unusable = [name for name in cameras if name and not CAMERA_NAME.fullmatch(name)]
    if unusable:
        raise ParameterError(
            f'camera "{unusable[0]}" cannot be the name of a topic; use letters, digits and _'
        )
    if len(transports) not in (1, len(cameras)):
        raise ParameterError(
            f'image_transports has {len(transports)} entries for {len(cameras)} cameras; give '
            f'one for all, or one each'
        )
    return dict(
        zip(cameras, transports * len(cameras) if len(transports) == 1 else transports, strict=True)
    )


LOOK_PERIOD: Final = 0.5  # s, for whether anybody subscribes


class Pipeline:
    """Everything that a configured node holds; it works from `start` to `stop`."""

    def __init__(
        self,
        node: LifecycleNode,
        values: SegmentationParameters,
        desk: RequestBroker,
        diagnostics: Diagnostics,
        labels: Labels,
        *,
        warn: Callable[[str], object],
    ) -> None:
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
        self._running: list[CameraInput | CommandInput | IdleMemoryTrimmer | SteadyTimer] = []
        self._segmenter = load_segmenter(values)
        self._own_threshold = self._segmenter.threshold
        self.set_threshold(values.threshold)
        self._results = ResultPublisher(node, values, labels, warn=warn)
        self._topics = {
            camera: image_topic(node, camera, transport=transport)
            for camera, transport in self._transports.items()
        }
        self.engine = Engine(
            self._segmenter,
            on_results=self._on_results,
            settings=engine_settings(self._segmenter, values, topics=self._topics),
            clock=lambda: node.get_clock().now().nanoseconds,
            on_notice=node.get_logger().info,
        )
        self._enabled = True
        self._lazy = values.lazy

    def start(self) -> None:
        """Begin to listen to the cameras and to commands."""
        self.engine.start()
        self._results.begin()
        self._update_pause()
        for camera, transport in self._transports.items():
            self._running.append(
                CameraInput(
                    self._node,
                    camera,
                    self.engine,
                    transport=transport,
                    warn=self._warn,
                    on_header=partial(self._on_header, camera),
                )
            )
        self._running.append(CommandInput(self._node, self.engine, cameras=self._values.cameras))
        self._running.append(
            IdleMemoryTrimmer(self._node, self.engine.statistics, after=self._values.image_timeout)
        )
        # Whoever subscribes shall be told too that no image comes.
        self._running.append(SteadyTimer(self._node, LOOK_PERIOD, self._update_pause))
        self._desk.open(self.engine, self._values.cameras)
        self._diagnostics.begin(
            self.engine,
            model=self._segmenter.name,
            topics=self._topics,
            timeout=self._values.image_timeout,
        )

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
            self._desk.dispatch(results)
