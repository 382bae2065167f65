"""Depth and calibration of a camera, matched with its images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from instructseg_ros.ros import qos
from instructseg_ros.ros.camera_input import camera_topic
from instructseg_ros.ros.endpoints import create_subscription
from instructseg_ros.ros.match_watch import MatchWatch
from instructseg_ros.ros.messages import stamp_to_nanoseconds
from instructseg_ros.ros.synchronizer import ApproximateTimeSynchronizer, SimpleFilter

QUEUE = 5


@dataclass(frozen=True)
class _Stamped:
    """An image without its pixels, which the synchronizer would keep for nothing."""

    header: Header


class DepthInput:
    """Listens while it is wanted, and tells of each image whose depth has come.

    Attributes:
        depth_topic: Resolved name of the topic of depth.
        info_topic: Resolved name of the topic of the calibration.
    """

    def __init__(self, node: Node, camera: str, *, slop: float, queue: int,
                 on_match: Callable[[Header, Image, CameraInfo], object]) -> None:
        """Begin without listening.

        Args:
            node: Owner of the subscriptions.
            camera: Name of the camera.
            slop: Most time between the stamps of what matches, s.
            queue: Messages of each kind that wait for the others.
            on_match: Called with the header of an image, its depth and its calibration.
        """
        self._node = node
        self._camera = camera
        self._subscriptions: list[Subscription] = []
        self.depth_topic, self.info_topic = (
            node.resolve_topic_name(camera_topic(camera, name))
            for name in ('depth/image', 'camera_info'))
        # Not throttled: it warns once, and nobody would repeat what the throttle drops.
        self._watch = MatchWatch((self.depth_topic, self.info_topic), slop=slop, queue=queue,
                                 warn=node.get_logger().warning)
        self._on_match = on_match
        self._color, self._depth, self._info = SimpleFilter(), SimpleFilter(), SimpleFilter()
        self._synchronizer = ApproximateTimeSynchronizer(
            [self._color, self._depth, self._info], queue, slop)
        self._synchronizer.registerCallback(self._take)

    def listen(self, wanted: bool) -> None:
        """Listen, or do not."""
        if wanted and not self._subscriptions:
            self._watch.begin()
            for message_type, name, topic, into in (
                    (Image, 'depth/image', self.depth_topic, self._depth),
                    (CameraInfo, 'camera_info', self.info_topic, self._info)):
                self._subscriptions.append(create_subscription(
                    self._node, message_type, camera_topic(self._camera, name),
                    partial(self._hear, topic, into), qos.sensor(QUEUE)))
        elif not wanted:
            self.destroy()

    def add(self, header: Header) -> None:
        """Take note of an image."""
        if self._subscriptions:
            self._color.signalMessage(_Stamped(header))
            self._watch.note_image(stamp_to_nanoseconds(header.stamp))

    def report_unmatched(self) -> None:
        """Say once why images are without depth or calibration."""
        self._watch.report()

    def destroy(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _hear(self, topic: str, into: SimpleFilter, message: Image | CameraInfo) -> None:
        self._watch.note(topic, stamp_to_nanoseconds(message.header.stamp))
        into.signalMessage(message)

    def _take(self, image: _Stamped, depth: Image, info: CameraInfo) -> None:
        self._watch.note_match()
        self._on_match(image.header, depth, info)
