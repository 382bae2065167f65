"""Depth and calibration of a camera, matched with its images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from instructseg_ros.ros import qos
from instructseg_ros.ros.camera_input import camera_topic
from instructseg_ros.ros.endpoints import create_subscription
from instructseg_ros.ros.synchronizer import ApproximateTimeSynchronizer, SimpleFilter

QUEUE = 5


@dataclass(frozen=True)
class _Stamped:
    """An image without its pixels, which the synchronizer would keep for nothing."""

    header: Header


class DepthInput:
    """Listens while it is wanted, and tells of each image whose depth has come."""

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
        self._color, self._depth, self._info = SimpleFilter(), SimpleFilter(), SimpleFilter()
        self._synchronizer = ApproximateTimeSynchronizer(
            [self._color, self._depth, self._info], queue, slop)
        self._synchronizer.registerCallback(
            lambda image, depth, info: on_match(image.header, depth, info))

    @property
    def topics(self) -> str:
        """What it listens to, in words."""
        names = (camera_topic(self._camera, name) for name in ('depth/image', 'camera_info'))
        return ' and '.join(self._node.resolve_topic_name(name) for name in names)

    def listen(self, wanted: bool) -> None:
        """Listen, or do not."""
        if wanted and not self._subscriptions:
            for message_type, name, into in ((Image, 'depth/image', self._depth),
                                             (CameraInfo, 'camera_info', self._info)):
                self._subscriptions.append(create_subscription(
                    self._node, message_type, camera_topic(self._camera, name),
                    into.signalMessage, qos.sensor(QUEUE)))
        elif not wanted:
            self.destroy()

    def add(self, header: Header) -> None:
        """Take note of an image."""
        if self._subscriptions:
            self._color.signalMessage(_Stamped(header))

    def destroy(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
