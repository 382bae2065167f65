"""Results out: the message of each, and the images of each frame."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.lifecycle import LifecycleNode

from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import qos
from instructseg_ros.ros.endpoints import create_publisher
from instructseg_ros.ros.image_outputs import ImageOutputs
from instructseg_ros.ros.messages import segmentation_to_message
from instructseg_ros.streaming.instruction import Until
from instructseg_ros.streaming.labels import Labels
from instructseg_ros.streaming.segmentation import Segmentation


class ResultPublisher:
    """Publishes on `segmentation` and on the topics of the cameras; one thread at a time."""

    def __init__(self, node: LifecycleNode, *, cameras: Sequence[str],
                 label_encoding: str) -> None:
        """Create the publishers on a node; they work while it is active.

        Args:
            node: Owner of the publishers.
            cameras: Names of the cameras.
            label_encoding: 16UC1 or mono8.
        """
        self._node = node
        self._labels = Labels()
        self._segmentation = create_publisher(
            node, SegmentationMessage, 'segmentation', qos.reliable(10))
        self._cameras = {
            name: ImageOutputs(node, name, self._labels, label_encoding=label_encoding)
            for name in cameras}

    def publish(self, results: Sequence[Segmentation]) -> None:
        """Publish the results of a frame, or one without a frame.

        Answers to a question about one image go to the asker only, not to the topics.
        """
        shown = [each for each in results if each.instruction.until is not Until.ANSWERED]
        now = self._node.get_clock().now().to_msg()
        for result in shown:
            self._segmentation.publish(segmentation_to_message(result, now=now))
        seen = [each for each in shown if each.mask is not None and each.image is not None]
        if seen:
            self._cameras[seen[0].camera].publish(seen)
        for result in shown:
            if result.final:
                self._labels.release(result)

    def is_watched(self) -> bool:
        """Tell whether anybody subscribes to any result."""
        return bool(self._segmentation.get_subscription_count()) or any(
            outputs.is_watched() for outputs in self._cameras.values())

    def destroy(self) -> None:
        """Remove the publishers from the node."""
        self._node.destroy_lifecycle_publisher(self._segmentation)
        for outputs in self._cameras.values():
            outputs.destroy()
