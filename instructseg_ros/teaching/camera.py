"""Receives the frames of a ROS camera for a teaching, and publishes the progress of the teaching.

Topics: the images of a camera, `camera_info` and `depth/image` as for the segmentation node;
`teach/progress` (std_msgs/String) has each step as JSON, such as `{"stage": "capture",
"done": 0.3, "accepted": 3, "wanted": 10, "problem": ""}`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.ros import qos
from instructseg_ros.ros.depth_input import SUBSCRIPTION_DEPTH
from instructseg_ros.ros.inputs import camera_topic, image_topic
from instructseg_ros.ros.messages import (
    ConversionError,
    compressed_to_rgb,
    image_to_rgb,
    stamp_to_nanoseconds,
)
from instructseg_ros.ros.node_runner import init_ros
from instructseg_ros.ros.synchronizer import ApproximateTimeSynchronizer, SimpleFilter
from instructseg_ros.ros.transport import discovery_advice
from instructseg_ros.spatial.depth import depth_in_metres
from instructseg_ros.spatial.pinhole import PinholeCache, named_rectified
from instructseg_ros.streaming.encodings import BitDepth
from instructseg_ros.teaching.capture import SLOP, CaptureProgress, ShownFrame

PROGRESS_TOPIC: Final = 'teach/progress'
DEPTH_PATIENCE: Final = 3.0  # s after the first image without a publisher of depth
_QUEUE: Final = 10  # messages of each topic that wait to be matched
_SPIN_TIMEOUT: Final = 0.1  # s


class CameraError(RuntimeError):
    """A camera sends nothing usable; the message names the topic and how to fix it."""


class ProgressPublisher:
    """Publishes the progress of a teaching; late subscribers receive the last step.

    Thread-safe; the node need not spin.

    Args:
        node: Owner of the publisher.
    """

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(
            String, PROGRESS_TOPIC, qos.latched(), qos_overriding_options=qos.overridable()
        )

    def publish(self, stage: str, done: float, **details: Any) -> None:
        """Publish a step.

        Args:
            stage: Name of the stage, such as `capture`.
            done: Share of the stage that is done, 0 to 1.
            **details: Further fields, as JSON can express them.
        """
        fields = {'stage': stage, 'done': round(done, 4), **details}
        self._publisher.publish(String(data=json.dumps(fields)))

    def publish_capture(self, progress: CaptureProgress) -> None:
        """Publish the state of a capture; pass it to `collect` as `report`."""
        self.publish(
            'capture',
            progress.accepted / max(1, progress.wanted),
            accepted=progress.accepted,
            wanted=progress.wanted,
            problem=progress.problem,
        )


class TeachingNode:
    """The ROS node of a teaching; use it in a `with` statement.

    It joins the ROS graph with a context of its own, so that other nodes of the process are not
    affected. Use it from one thread, except for `progress`.

    Attributes:
        progress: Publishes the progress of the teaching.

    Args:
        ros_args: ROS arguments such as `--ros-args -r __ns:=/robot`.
    """

    def __init__(self, ros_args: Sequence[str] = ()) -> None:
        self._context = rclpy.Context()
        init_ros(ros_args, context=self._context)
        # Without services of parameters, which would not respond during the training.
        self._node = rclpy.create_node(
            'instructseg_teach', context=self._context, start_parameter_services=False
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.progress = ProgressPublisher(self._node)

    def close(self) -> None:
        """Leave the ROS graph; closing twice is fine."""
        if self._context.ok():
            self._executor.shutdown()
            self._node.destroy_node()
            self._context.try_shutdown()

    def __enter__(self) -> TeachingNode:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def frames(
        self,
        camera: str,
        *,
        depth: str | None = None,
        timeout: float = 10.0,
        transport: str = 'raw',
    ) -> Generator[ShownFrame, None, None]:
        """Yield the newest frame of a camera whenever the next one is requested, without an end.

        Args:
            camera: Name of the camera, the namespace of its topics; empty for `image` itself.
            depth: Topic of the depth images. None uses `<camera>/depth/image`; if nothing publishes
                it within `DEPTH_PATIENCE`, the frames have no depth. Empty to ignore depth.
            timeout: Longest time to wait for an image, and then for its depth, s.
            transport: `raw` or `compressed`, the image transport.

        Raises:
            CameraError: No image comes, or none with depth although that is published or named, or
                a message cannot be read.
            CalibrationError: The camera has depth but is not calibrated.
        """
        stream = _CameraStream(self._node, camera, depth=depth, transport=transport)
        try:
            while True:
                yield stream.next_frame(timeout, spin=self._spin)
        finally:
            stream.destroy()

    def first_picture(
        self, camera: str, *, timeout: float = 10.0, transport: str = 'raw'
    ) -> np.ndarray:
        """Return the (H, W, 3) uint8 image that a camera takes next, as of the empty table.

        Raises:
            CameraError: No image comes within `timeout` seconds, or it cannot be read.
        """
        frames = self.frames(camera, depth='', timeout=timeout, transport=transport)
        try:
            return next(frames).rgb
        finally:
            frames.close()

    def _spin(self) -> None:
        self._executor.spin_once(timeout_sec=_SPIN_TIMEOUT)


def frames_of_camera(
    camera: str, *, depth: str | None = None, timeout: float = 10.0, ros_args: Sequence[str] = ()
) -> Generator[ShownFrame, None, None]:
    """Yield the newest frames of a camera without an end, see `TeachingNode.frames`.

    It uses a node of its own, which leaves the ROS graph when the iterator is closed.
    """
    with TeachingNode(ros_args) as node:
        yield from node.frames(camera, depth=depth, timeout=timeout)


class _CameraStream:
    """Subscriptions to a camera, from which one frame at a time is taken."""

    _image: Image | CompressedImage | None
    _match: tuple[Image | CompressedImage, Image | None, CameraInfo | None] | None

    def __init__(self, node: Node, camera: str, *, depth: str | None, transport: str) -> None:
        self._node = node
        self._image_topic = image_topic(node, camera, transport=transport)
        self._info_topic = node.resolve_topic_name(camera_topic(camera, 'camera_info'))
        self._depth_topic = node.resolve_topic_name(depth or camera_topic(camera, 'depth/image'))
        self._needs_depth = bool(depth)  # it is named, or came before
        self._bits = BitDepth()
        self._pinholes = PinholeCache(rectified=named_rectified(self._image_topic))
        self._forget()
        message_type: type = Image if transport == 'raw' else CompressedImage
        # With this profile, only the newest image waits while a frame is judged.
        self._subscription = qos.create_subscription(
            node, message_type, self._image_topic, self._on_image, qos.sensor()
        )
        self._depth_subscriptions: list[Subscription] = []
        if depth != '':
            self._depth_subscriptions = [
                qos.create_subscription(node, kind, topic, add, qos.sensor(SUBSCRIPTION_DEPTH))
                for kind, topic, add in (
                    (Image, self._depth_topic, self._on_depth),
                    (CameraInfo, self._info_topic, self._on_info),
                )
            ]

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)
        self._unsubscribe_depth()

    def next_frame(self, timeout: float, *, spin: Callable[[], object]) -> ShownFrame:
        """Return the next frame that arrives.

        Args:
            timeout: Longest time to wait for an image, and then for its depth, s.
            spin: Handles one message, or returns after a short time.

        Raises:
            CameraError: There is none.
        """
        self._forget()
        began = time.monotonic()
        while self._match is None:
            spin()
            now = time.monotonic()
            if self._image is None and now - began > timeout:
                raise CameraError(self._explain_silence(timeout))
            if self._image is not None and not self._depth_subscriptions:
                self._match = (self._image, None, None)
            elif self._image is not None:
                self._wait_for_depth(now - self._arrived, timeout)
        return self._convert(*self._match)

    def _forget(self) -> None:
        """Drop all messages: those that waited for others while a frame was judged are old."""
        self._image = None
        self._arrived = 0.0  # time of the first image, s of the steady clock
        self._has_depth = self._has_info = False
        self._match = None
        self._color, self._depth, self._info = SimpleFilter(), SimpleFilter(), SimpleFilter()
        self._synchronizer = ApproximateTimeSynchronizer(
            [self._color, self._depth, self._info], _QUEUE, SLOP
        )
        self._synchronizer.registerCallback(self._on_match)

    def _on_image(self, message: Image | CompressedImage) -> None:
        if self._image is None:
            self._arrived = time.monotonic()
        self._image = message
        self._color.signalMessage(message)

    def _on_depth(self, message: Image) -> None:
        self._has_depth = True
        self._depth.signalMessage(message)

    def _on_info(self, message: CameraInfo) -> None:
        self._has_info = True
        self._info.signalMessage(message)

    def _on_match(self, image: Image | CompressedImage, depth: Image, info: CameraInfo) -> None:
        self._match = (image, depth, info)
        self._needs_depth = True

    def _wait_for_depth(self, waited: float, timeout: float) -> None:
        """Continue without depth if nothing publishes it.

        Args:
            waited: Time since the first image, s.
            timeout: Longest time to wait for depth that is published or needed, s.

        Raises:
            CameraError: The time is over.
        """
        if waited <= min(timeout, DEPTH_PATIENCE):
            return
        if self._needs_depth or self._node.count_publishers(self._depth_topic):
            if waited > timeout:
                raise CameraError(self._explain_no_depth())
        elif waited > DEPTH_PATIENCE:
            self._node.get_logger().warning(
                f'the frames have no depth: nothing publishes {self._depth_topic}'
            )
            self._unsubscribe_depth()

    def _explain_no_depth(self) -> str:
        lacks_info = self._has_depth and not self._has_info
        topic = self._info_topic if lacks_info else self._depth_topic
        count = self._node.count_publishers(topic)
        return (
            f'no message on {topic} ({_publishers(count)}) has the time of an image on '
            f'{self._image_topic}, within {SLOP:g} s: publish depth that is registered to the '
            f'images, and camera_info, with the stamps of the images; or do without depth'
        )

    def _unsubscribe_depth(self) -> None:
        for subscription in self._depth_subscriptions:
            self._node.destroy_subscription(subscription)
        self._depth_subscriptions.clear()

    def _explain_silence(self, timeout: float) -> str:
        topic = self._image_topic
        count = self._node.count_publishers(topic)
        text = f'no image came on {topic} within {timeout:g} s, which has {_publishers(count)}'
        if count:
            return (
                f'{text}: check that the camera is running and, for large images, that its driver '
                f'uses the same transport (docs/robot.md)'
            )
        if self._node.count_publishers(f'{topic}/compressed'):
            return f'{text}, but {topic}/compressed has: let the camera publish raw images, too'
        return (
            f'{text}: start the camera, or name it; `ros2 topic list -t` lists the topics of type '
            f'sensor_msgs/msg/Image{discovery_advice()}'
        )

    def _convert(
        self, image: Image | CompressedImage, depth: Image | None, info: CameraInfo | None
    ) -> ShownFrame:
        topic = self._image_topic
        try:
            convert = image_to_rgb if isinstance(image, Image) else compressed_to_rgb
            rgb = np.ascontiguousarray(convert(image, self._bits))
            topic = self._depth_topic
            return ShownFrame(
                rgb=rgb,
                depth=None if depth is None else depth_in_metres(depth),
                pinhole=None if info is None else self._pinholes.convert(info),
                source=f'{self._image_topic} at {_seconds(image):.3f} s',
            )
        except ConversionError as error:
            raise CameraError(f'an image on {topic} cannot be read: {error}') from error


def _seconds(message: Image | CompressedImage) -> float:
    return stamp_to_nanoseconds(message.header.stamp) / NANO


def _publishers(count: int) -> str:
    return f'{count} publisher' if count == 1 else f'{count} publishers'
