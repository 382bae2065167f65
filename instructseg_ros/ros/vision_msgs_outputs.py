"""Publishes results as vision_msgs, if that package is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geometry_msgs.msg import PoseWithCovariance, Vector3
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from std_msgs.msg import Header

from instructseg_ros.ros import qos
from instructseg_ros.ros.inputs import camera_topic
from instructseg_ros.ros.messages import box_to_pose
from instructseg_ros.ros.qos import create_publisher
from instructseg_ros.spatial.box import Box
from instructseg_ros.streaming.labels import Labels
from instructseg_ros.streaming.segmentation import Segmentation, State

try:
    import vision_msgs.msg as vision
except ImportError:
    vision = None

PIXEL_THRESHOLD = 0.5  # lowest probability of a pixel of a mask


class VisionOutputs:
    """Publishes `detections`, `detections_3d` and `label_info`; does nothing without vision_msgs.

    The class of a detection is the label of its instruction; its id is the track id of its target.
    """

    def __init__(self, node: LifecycleNode, camera: str, labels: Labels) -> None:
        """Create the publishers.

        Args:
            node: Owner of the publishers.
            camera: Name of the camera, which is the namespace of its topics.
            labels: Numbers of the instructions in label images.
        """
        self._node = node
        self._labels = labels
        self._published_revision = -1
        self._publishers: dict[str, LifecyclePublisher] = {}
        if vision is None:
            return
        for name, message_type, profile in (
            ('detections', vision.Detection2DArray, qos.reliable()),
            ('detections_3d', vision.Detection3DArray, qos.reliable()),
            ('label_info', vision.LabelInfo, qos.latched()),
        ):
            self._publishers[name] = create_publisher(
                node, message_type, camera_topic(camera, name), profile
            )

    def is_watched(self, name: str) -> bool:
        """Return whether a topic has a subscriber."""
        publisher = self._publishers.get(name)
        return publisher is not None and publisher.get_subscription_count() > 0

    def publish_labels(self, header: Header) -> None:
        """Publish the names of the labels if they have changed."""
        if self._publishers and self._labels.revision != self._published_revision:
            self._published_revision = self._labels.revision
            self._publishers['label_info'].publish(
                vision.LabelInfo(
                    header=header,
                    threshold=PIXEL_THRESHOLD,
                    class_map=[
                        vision.VisionClass(class_id=number, class_name=name)
                        for number, name in self._labels.names.items()
                    ],
                )
            )

    def publish_2d(self, results: Sequence[Segmentation], numbers: Mapping[str, int]) -> None:
        """Publish the boxes around the masks of a frame, in pixels.

        Args:
            results: Results of the frame.
            numbers: Id of each instruction -> its label.
        """
        if not self.is_watched('detections'):
            return
        header = results[0].header
        self._publishers['detections'].publish(
            vision.Detection2DArray(
                header=header,
                detections=[
                    _describe(
                        vision.Detection2D(header=header, bbox=_box_2d(result)), result, numbers
                    )
                    for result in results
                    if result.state is State.FOUND
                ],
            )
        )

    def publish_3d(
        self, found: Sequence[tuple[Segmentation, Box]], numbers: Mapping[str, int], header: Header
    ) -> None:
        """Publish boxes in space, m, in the frame of the header.

        Args:
            found: Results and their boxes.
            numbers: Id of each instruction -> its label.
            header: Header of the message and its detections.
        """
        if self.is_watched('detections_3d'):
            self._publishers['detections_3d'].publish(
                vision.Detection3DArray(
                    header=header,
                    detections=[
                        _describe(
                            vision.Detection3D(header=header, bbox=_box_3d(box)), result, numbers
                        )
                        for result, box in found
                    ],
                )
            )

    def destroy(self) -> None:
        """Remove the publishers from the node."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)


def _describe(detection: Any, result: Segmentation, numbers: Mapping[str, int]) -> Any:
    detection.id = str(result.track_id)
    detection.results = [
        vision.ObjectHypothesisWithPose(
            hypothesis=vision.ObjectHypothesis(
                class_id=str(numbers[result.instruction.id]), score=float(result.score)
            )
        )
    ]
    if hasattr(detection.bbox.center, 'orientation'):
        detection.results[0].pose = PoseWithCovariance(pose=detection.bbox.center)
    return detection


def _box_2d(result: Segmentation) -> Any:
    left, top, width, height = result.region
    box = vision.BoundingBox2D(size_x=float(width), size_y=float(height))
    box.center.position.x = left + width / 2
    box.center.position.y = top + height / 2
    return box


def _box_3d(box: Box) -> Any:
    x, y, z = (float(value) for value in box.size)
    return vision.BoundingBox3D(center=box_to_pose(box), size=Vector3(x=x, y=y, z=z))
