"""Publishes targets in space: points, masked depth, poses, boxes and tf2 frames."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
from geometry_msgs.msg import PoseStamped, Transform, TransformStamped, Vector3
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from instructseg_ros.ros.depth_input import DepthInput
from instructseg_ros.ros.inputs import camera_topic
from instructseg_ros.ros.messages import (
    array_to_image,
    box_to_pose,
    points_to_cloud,
    quaternion_message,
    stamp_to_nanoseconds,
    transform_box,
)
from instructseg_ros.ros.qos import create_publisher
from instructseg_ros.ros.transport import detach_from_clock
from instructseg_ros.ros.vision_msgs_outputs import VisionOutputs
from instructseg_ros.spatial.box import Box, NoDepthError, fit_box
from instructseg_ros.spatial.depth import depth_in_metres, mask_depth
from instructseg_ros.spatial.pinhole import Pinhole, PinholeCache, deproject
from instructseg_ros.streaming.instruction import describe_error
from instructseg_ros.streaming.labels import union
from instructseg_ros.streaming.segmentation import Segmentation, State

MAX_WAITING: Final = 16  # frames whose results wait for depth, or whose depth waits for results

Results = Sequence[Segmentation]
Numbers = Mapping[str, int]  # id of each instruction -> its label
Depth = tuple[Header, Image, CameraInfo]
Found = list[tuple[Segmentation, Box]]


class TransformError(RuntimeError):
    """A transform is not available; the message names it and says how to fix it."""


class Transforms:
    """Looks up transforms to the target frame, and broadcasts the poses of targets."""

    def __init__(self, node: Node, *, target_frame: str, broadcast: bool) -> None:
        """Use tf2 if one of the arguments needs it.

        Args:
            node: Owner of the topics.
            target_frame: Frame of published boxes; '' for the camera's frame.
            broadcast: Whether the poses of targets are broadcast.

        Raises:
            TransformError: tf2 is needed and not installed.
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
                f'apt install ros-$ROS_DISTRO-tf2-ros-py, or leave both unset'
            ) from error
        if target_frame:
            self._buffer = tf2_ros.Buffer(node=node)
            self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)
        if broadcast:
            self._broadcaster = tf2_ros.TransformBroadcaster(node)

    @property
    def broadcasts(self) -> bool:
        """Return whether the poses of targets are broadcast."""
        return self._broadcaster is not None

    def target_header(self, header: Header) -> Header:
        """Return the header for an image's boxes: the stamp of the image, and the target frame."""
        return Header(stamp=header.stamp, frame_id=self._target_frame or header.frame_id)

    def to_target_frame(self, box: Box, header: Header) -> Box:
        """Transform a box from the frame of an image to the target frame.

        Args:
            box: A box in the frame of the header.
            header: Header of the image; its stamp is the time of the transform.

        Raises:
            TransformError: There is no such transform.
        """
        if self._buffer is None or header.frame_id == self._target_frame:
            return box
        try:
            found = self._buffer.lookup_transform(
                self._target_frame, header.frame_id, Time.from_msg(header.stamp)
            )
        except Exception as error:  # tf2's errors have no common base in some versions
            raise TransformError(
                f'the target was found, but there is no transform from "{header.frame_id}" to '
                f'"{self._target_frame}" at the time of the image: '
                f'{describe_error(error)}; publish it, or set target_frame to an existing '
                f'frame'
            ) from error
        return transform_box(box, found.transform)

    def broadcast(self, box: Box, header: Header, *, child: str) -> None:
        """Broadcast the pose of a box as the frame `child`."""
        x, y, z = (float(value) for value in box.center)
        self._broadcaster.sendTransform(
            TransformStamped(
                header=header,
                child_frame_id=child,
                transform=Transform(
                    translation=Vector3(x=x, y=y, z=z), rotation=quaternion_message(box.rotation)
                ),
            )
        )

    def destroy(self) -> None:
        """Remove everything from the node; tf2 itself removes only a part."""
        if self._buffer is not None:
            self._listener.unregister()
            self._node.destroy_service(self._buffer.srv)
            detach_from_clock(self._buffer)
        if self._broadcaster is not None:
            self._node.destroy_publisher(self._broadcaster.pub_tf)


class TargetOutputs:
    """Publishes each frame as soon as both its results and its depth have arrived.

    Thread-safe: one thread at a time publishes, in the order of the frames.
    """

    def __init__(
        self,
        node: LifecycleNode,
        camera: str,
        vision: VisionOutputs,
        transforms: Transforms,
        *,
        warn: Callable[[str], object],
        source: DepthInput,
        rectified: bool,
    ) -> None:
        """Create the publishers.

        Args:
            node: Owner of the publishers.
            camera: Name of the camera, which is the namespace of its topics.
            vision: Publisher of 3-D detections.
            transforms: Transforms to the target frame.
            warn: Called with the reason why nothing is published for a target.
            source: Source of depth and calibration.
            rectified: Whether image and depth are rectified; see `Pinhole.from_camera_info`.
        """
        self._node = node
        self._camera = camera
        self._vision = vision
        self._transforms = transforms
        self._warn = warn
        self._source = source
        self._points = create_publisher(node, PointCloud2, camera_topic(camera, 'points'))
        self._masked = create_publisher(node, Image, camera_topic(camera, 'depth_masked'))
        self._pose = create_publisher(node, PoseStamped, camera_topic(camera, 'target_pose'))
        # Keyed by the identity of the image's header (kept alive by the values): stamps may repeat.
        self._depths: OrderedDict[int, Depth] = OrderedDict()
        self._results: OrderedDict[int, tuple[Results, Numbers]] = OrderedDict()
        self._pinholes = PinholeCache(rectified=rectified)
        self._lock = threading.Lock()
        self._publishing = threading.Lock()

    def is_watched(self) -> bool:
        """Return whether one of the topics has a subscriber or targets are broadcast."""
        return self._needs_boxes() or any(
            each.get_subscription_count() for each in (self._points, self._masked)
        )

    def add_depth(self, header: Header, message: Image, info: CameraInfo) -> None:
        """Add the depth and the calibration of the image with this header.

        Images without a stamp are ignored, because the depth may belong to another image.
        """
        if not stamp_to_nanoseconds(header.stamp):
            return
        with suppress(ValueError):  # reported when publishing
            self._compute_rays(message, info)
        depth = header, message, info
        with self._publishing:
            with self._lock:
                waiting = self._results.pop(id(header), None)
                self._depths[id(header)] = depth
                while len(self._depths) > MAX_WAITING:
                    self._depths.popitem(last=False)
            if waiting is not None:
                self._publish(*waiting, depth)

    def add_results(self, results: Results, numbers: Numbers) -> None:
        """Add all results of a frame that have masks, and the labels of their instructions."""
        header = results[0].header
        if not self.is_watched() or not stamp_to_nanoseconds(header.stamp):
            return
        with self._publishing:
            with self._lock:
                depth = self._depths.get(id(header))
                if depth is None:
                    self._results[id(header)] = results, numbers
                is_late = len(self._results) > MAX_WAITING and bool(
                    self._results.popitem(last=False)
                )
            if depth is not None:
                self._publish(results, numbers, depth)
        if depth is None and is_late:
            self._source.report_unmatched()

    def clear(self) -> None:
        """Drop the depth and the results that wait for each other."""
        with self._lock:
            self._depths.clear()
            self._results.clear()

    def destroy(self) -> None:
        """Remove the publishers from the node."""
        for publisher in (self._points, self._masked, self._pose):
            self._node.destroy_lifecycle_publisher(publisher)

    def _needs_boxes(self) -> bool:
        return bool(
            self._transforms.broadcasts
            or self._pose.get_subscription_count()
            or self._vision.is_watched('detections_3d')
        )

    def _compute_rays(self, depth: Image, info: CameraInfo) -> None:
        """Compute the rays of a new calibration before results wait for this slow step.

        Raises:
            ValueError: The calibration is invalid, or depth has another field of view.
        """
        pinhole = self._pinholes.convert(info)
        for camera in (pinhole, pinhole.scaled(depth.width, depth.height)):
            camera.rays(slice(0), slice(0))

    def _publish(self, results: Results, numbers: Numbers, depth: Depth) -> None:
        _, message, info = depth
        mask = union(results)
        try:
            height, width = mask.shape
            pinhole = self._pinholes.convert(info).scaled(width, height)
        except ValueError as error:
            self._warn(f'{self._source.info_topic} cannot be used: {describe_error(error)}')
            return
        try:
            self._publish_images(results, numbers, message, pinhole, mask)
        except ValueError as error:
            self._warn(f'{self._source.depth_topic} cannot be used: {describe_error(error)}')

    def _publish_images(
        self, results: Results, numbers: Numbers, message: Image, pinhole: Pinhole, mask: np.ndarray
    ) -> None:
        """Publish a frame on each topic that has subscribers.

        Raises:
            ConversionError: The depth image is invalid.
            FieldOfViewError: Depth and image have different aspect ratios.
        """
        header = results[0].header
        if self._masked.get_subscription_count():
            self._masked.publish(
                array_to_image(mask_depth(message, mask), header=header, encoding=message.encoding)
            )
        needs_points, needs_boxes = self._points.get_subscription_count(), self._needs_boxes()
        if not (needs_points or needs_boxes):
            return
        metres = depth_in_metres(message)
        if needs_points:
            self._points.publish(points_to_cloud(deproject(metres, pinhole, mask), header=header))
        if needs_boxes:
            self._publish_boxes(list(self._find_boxes(results, metres, pinhole)), numbers, header)

    def _find_boxes(
        self, results: Results, metres: np.ndarray, pinhole: Pinhole
    ) -> Iterator[tuple[Segmentation, Box]]:
        for result in results:
            if result.state is State.FOUND and result.mask is not None:
                try:
                    yield result, fit_box(metres, pinhole, result.mask)
                except NoDepthError as error:
                    self._warn(f'a target was found, but not its position: {describe_error(error)}')

    def _publish_boxes(self, found: Found, numbers: Numbers, header: Header) -> None:
        try:
            moved = [
                (result, self._transforms.to_target_frame(box, header)) for result, box in found
            ]
        except TransformError as error:
            self._warn(str(error))
            return
        frame = self._transforms.target_header(header)
        self._vision.publish_3d(moved, numbers, frame)
        if moved and self._pose.get_subscription_count():
            self._pose.publish(PoseStamped(header=frame, pose=box_to_pose(moved[0][1])))
        for result, box in moved if self._transforms.broadcasts else ():
            self._transforms.broadcast(
                box, frame, child=child_frame(self._camera, result.instruction.id)
            )


def child_frame(camera: str, id: str) -> str:
    """Return a target's tf2 frame; it names the camera, because a frame has only one parent."""
    return re.sub(r'\W', '_', '_'.join(filter(None, ('target', camera, id))))
