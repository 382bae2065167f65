"""Boxes in other frames than the camera's, by tf2 where that is installed."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import Transform, TransformStamped, Vector3
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from instructseg_ros.ros.distribution import forget_jumps
from instructseg_ros.ros.spatial_messages import quaternion_message, transform_box
from instructseg_ros.spatial.box import Box
from instructseg_ros.streaming.quoting import describe_error


class TransformError(RuntimeError):
    """A transform cannot be had; the message says which, and the remedy."""


class Transforms:
    """Looks transforms up, and broadcasts where targets are."""

    def __init__(self, node: Node, *, target_frame: str, broadcast: bool) -> None:
        """Begin to listen to transforms, where they are needed.

        Args:
            node: Owner of the topics.
            target_frame: Frame to bring boxes to; '': they stay in the camera's.
            broadcast: Whether targets are broadcast.

        Raises:
            TransformError: One of both is wanted and tf2 is not installed.
        """
        self._node = node
        self._target_frame = target_frame
        self._buffer: Any = None
        self._listener: Any = None
        self._broadcaster: Any = None
        if not (target_frame or broadcast):
            return
        try:
            import tf2_ros
        except ImportError as error:
            raise TransformError(
                f'target_frame and broadcast_targets need tf2 ({error.name} is missing): '
                f'apt install ros-$ROS_DISTRO-tf2-ros-py, or leave both unset') from error
        if target_frame:
            self._buffer = tf2_ros.Buffer(node=node)
            self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)
        if broadcast:
            self._broadcaster = tf2_ros.TransformBroadcaster(node)

    @property
    def broadcasts(self) -> bool:
        """Whether targets are broadcast."""
        return self._broadcaster is not None

    def target_header(self, header: Header) -> Header:
        """Return the header of boxes in the target frame, given that of their image."""
        return Header(stamp=header.stamp, frame_id=self._target_frame or header.frame_id)

    def to_target_frame(self, box: Box, header: Header) -> Box:
        """Return a box in the target frame at the time of its image, given in the image's.

        Raises:
            TransformError: There is no such transform.
        """
        if self._buffer is None or header.frame_id == self._target_frame:
            return box
        try:
            found = self._buffer.lookup_transform(
                self._target_frame, header.frame_id, Time.from_msg(header.stamp))
        except Exception as error:  # those of tf2 have no base class in all distributions
            raise TransformError(
                f'the target was found, but there is no transform from "{header.frame_id}" to '
                f'"{self._target_frame}" at the time of the image: '
                f'{describe_error(error)}; publish it, or set target_frame to a frame that '
                f'there is') from error
        return transform_box(box, found.transform)

    def broadcast(self, box: Box, header: Header, *, child: str) -> None:
        """Broadcast the pose of a box as a frame of that name."""
        x, y, z = (float(value) for value in box.center)
        self._broadcaster.sendTransform(TransformStamped(
            header=header, child_frame_id=child, transform=Transform(
                translation=Vector3(x=x, y=y, z=z),
                rotation=quaternion_message(box.rotation))))

    def destroy(self) -> None:
        """Remove everything from the node, which tf2 itself does only in part."""
        if self._buffer is not None:
            self._listener.unregister()
            self._node.destroy_service(self._buffer.srv)
            forget_jumps(self._buffer)
        if self._broadcaster is not None:
            self._node.destroy_publisher(self._broadcaster.pub_tf)
