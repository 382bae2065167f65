"""Parts of a configured node: model, engine, inputs and outputs."""

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

from instructseg_ros.model.process_memory import release_freed_memory
from instructseg_ros.ros import qos
from instructseg_ros.ros.diagnostics import Diagnostics
from instructseg_ros.ros.inputs import CameraInput, CommandInput, image_topic
from instructseg_ros.ros.node_runner import SteadyTimer, check_stop, interruptible
from instructseg_ros.ros.outputs import ResultPublisher
from instructseg_ros.ros.parameters import ParameterError
from instructseg_ros.ros.requests import RequestBroker
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.labels import Labels
from instructseg_ros.streaming.schedule import EngineSettings, Schedule
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.streaming.statistics import Statistics

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter


POLL_PERIOD: Final = 0.5  # s between checks for subscribers and for idle cameras
WARM_UP_SIZE: Final = (480, 640, 3)
CAMERA_NAME: Final = re.compile(r'[A-Za-z]\w*(/[A-Za-z]\w*)*', re.ASCII)


def load_segmenter(values: SegmentationParameters) -> Segmenter:
    """Load the model and run it once, so that the first frame is not slow.

    Raises:
        ModelError: The model cannot be loaded; the message says how to fix it.
        StopRequested: The process received a signal to stop meanwhile.
    """
    # Imported here because torch and transformers take seconds.
    import torch

    check_stop()
    from instructseg_ros.model.segmenter import Segmenter

    torch.set_num_threads(values.threads or max(1, len(os.sched_getaffinity(0)) - 1))
    with interruptible():
        segmenter = Segmenter.from_pretrained(
            values.model,
            device=values.device,
            dtype=values.dtype,
            runtime=values.runtime,
            compiled=values.compiled,
        )
        image = np.zeros(WARM_UP_SIZE, np.uint8)
        [features] = segmenter.encode([image])
        references = [features] * segmenter.reference_frames
        segmenter.segment(image, 'the red mug', references, features=features)
    return segmenter


def free_segmenter_memory() -> None:
    """Return the memory of a destroyed segmenter to the system, GPU memory included."""
    gc.collect()
    torch = sys.modules.get('torch')  # importing it would take seconds
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
        topics: Name of each camera -> its image topic, for messages to users.
    """
    references: dict[str, float] = {}  # negative parameters leave the model's defaults
    if values.reference_frames >= 0:
        references['reference_frames'] = values.reference_frames
    if values.reference_stride >= 0:
        references['reference_stride'] = values.reference_stride
        references['max_reference_stride'] = values.reference_stride
    return EngineSettings.from_model(
        segmenter,
        topics=topics,
        **references,
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


def camera_transports(values: SegmentationParameters) -> dict[str, str]:
    """Return the image transport (raw or compressed) of each camera, by its name.

    Raises:
        ParameterError: The names are invalid, or the number of transports is wrong.
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


class Pipeline:
    """Connects cameras and commands to the engine, and the engine to topics and requests.

    It segments between `start` and `stop`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        values: SegmentationParameters,
        broker: RequestBroker,
        diagnostics: Diagnostics,
        labels: Labels,
        *,
        warn: Callable[[str], object],
    ) -> None:
        """Load the model and create the publishers.

        Args:
            node: Owner of the topics.
            values: Its parameters.
            broker: Submits the requests of services and actions.
            diagnostics: Reports the state of the engine.
            labels: Numbers of the instructions in label images.
            warn: Called with a description of each invalid image or command.

        Raises:
            ModelError: The model cannot be loaded; the message says how to fix it.
            ParameterError: Parameters contradict each other.
        """
        self._node = node
        self._values = values
        self._broker = broker
        self._diagnostics = diagnostics
        self._warn = warn
        self._transports = camera_transports(values)
        self._active: list[CameraInput | CommandInput | IdleMemoryTrimmer | SteadyTimer] = []
        self._segmenter = load_segmenter(values)
        self._default_threshold = self._segmenter.threshold
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
        """Subscribe to the cameras and to commands."""
        self.engine.start()
        self._results.start()
        self._update_pause()
        for camera, transport in self._transports.items():
            self._active.append(
                CameraInput(
                    self._node,
                    camera,
                    self.engine,
                    transport=transport,
                    warn=self._warn,
                    on_header=partial(self._on_header, camera),
                )
            )
        self._active.append(CommandInput(self._node, self.engine, cameras=self._values.cameras))
        self._active.append(
            IdleMemoryTrimmer(self._node, self.engine.statistics, after=self._values.image_timeout)
        )
        # Polls even without images: a lazy node reports missing ones once it has a subscriber.
        self._active.append(SteadyTimer(self._node, POLL_PERIOD, self._update_pause))
        self._broker.open(self.engine, self._values.cameras)
        self._diagnostics.start(
            self.engine,
            model=self._segmenter.name,
            topics=self._topics,
            timeout=self._values.image_timeout,
        )
        qos.warn_of_unknown_overrides(
            self._node, self._results.depth_topics() if self._values.depth else ()
        )

    def stop(self) -> None:
        """End active instructions and unsubscribe; does nothing when stopped."""
        with ExitStack() as stops:  # stop each of them, even if another one raises
            stops.callback(release_freed_memory)
            stops.callback(self._results.stop)
            stops.callback(self.engine.stop)
            while self._active:
                stops.callback(self._active.pop().destroy)
            stops.callback(self._diagnostics.stop)

    def destroy(self) -> None:
        """Stop, and free the model and the publishers."""
        with ExitStack() as ends:
            ends.callback(self._results.destroy)
            ends.callback(self.stop)
        del self.engine, self._segmenter

    def set_threshold(self, value: float) -> None:
        """Set the lowest score of a found target; negative for the default of the model."""
        self._segmenter.threshold = self._default_threshold if value < 0 else value

    def set_max_rate(self, value: float) -> None:
        """Set the maximum number of images of each camera segmented per second; 0 for no limit."""
        self.engine.max_rate = value

    def set_lazy(self, value: bool) -> None:
        """Segment for active instructions only while an output has subscribers."""
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
        finally:  # clients of services and actions would otherwise wait forever
            self._broker.dispatch(results)


class IdleMemoryTrimmer:
    """Returns freed memory to the system, once, when no camera has sent an image for a while."""

    def __init__(self, node: Node, statistics: Statistics, *, after: float) -> None:
        """Poll until `destroy`.

        Args:
            node: Owner of the timer.
            statistics: Statistics with the time of the last image.
            after: Time without images, s.
        """
        self._statistics = statistics
        self._after = after
        self._is_idle = False
        self._timer = SteadyTimer(node, POLL_PERIOD, self._poll)

    def destroy(self) -> None:
        """Stop polling."""
        self._timer.destroy()

    def _poll(self) -> None:
        was_idle, self._is_idle = self._is_idle, self._statistics.silence() > self._after
        if self._is_idle and not was_idle:
            release_freed_memory()
