"""Everything that is published of a camera's frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from instructseg_ros.ros.camera_input import image_topic, shows_rectified
from instructseg_ros.ros.depth_input import DepthInput
from instructseg_ros.ros.image_outputs import ImageOutputs
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.ros.target_outputs import TargetOutputs
from instructseg_ros.ros.transforms import Transforms
from instructseg_ros.ros.vision_outputs import VisionOutputs
from instructseg_ros.streaming.labels import Labels
from instructseg_ros.streaming.segmentation import Segmentation

RECTIFICATION: Final = {
    True: 'rectified (P of camera_info applies)', False: 'raw (K and D of camera_info apply)'}


class CameraOutputs:
    """The topics of a camera, in its namespace.

    Attributes:
        depth: What the 3-D outputs are made with; listens only while it is told to.
    """

    def __init__(self, node: LifecycleNode, camera: str, labels: Labels, transforms: Transforms,
                 values: SegmentationParameters, *, warn: Callable[[str], object]) -> None:
        """Create the publishers on a node; they work while it is active.

        Args:
            node: Owner of the publishers.
            camera: Name of the camera.
            labels: Numbers of the instructions.
            transforms: Bring targets to the frame that is wanted.
            values: Parameters of the node.
            warn: Is told why something cannot be published.
        """
        self._images = ImageOutputs(node, camera, labels, label_encoding=values.label_encoding)
        self._vision = VisionOutputs(node, camera, labels)
        self.depth = DepthInput(
            node, camera, slop=values.sync_slop, queue=values.sync_queue,
            on_match=lambda *match: self._targets.add_depth(*match))
        topic = image_topic(node, camera)
        rectified = shows_rectified(topic, values.rectification)
        if values.depth:
            node.get_logger().info(f'images on {topic} count as {RECTIFICATION[rectified]}; set '
                                   f'rectification if that is wrong')
        self._targets = TargetOutputs(
            node, camera, self._vision, transforms, warn=warn, source=self.depth,
            rectified=rectified)

    def publish_labels(self, header: Header) -> None:
        """Publish what labels stand for, where that has changed."""
        self._vision.publish_labels(header)

    def publish(self, results: Sequence[Segmentation], numbers: Mapping[str, int]) -> None:
        """Publish what somebody wants of one frame.

        Args:
            results: All of the frame, with masks.
            numbers: Id of each instruction -> its label.
        """
        # Consumers of label images want to know first what the labels stand for.
        self.publish_labels(results[0].header)
        self._images.publish(results)
        self._vision.publish_2d(results, numbers)
        self._targets.add_results(results, numbers)

    def is_watched(self) -> bool:
        """Tell whether anybody wants any of it."""
        return (self._images.is_watched() or self._vision.is_watched('detections')
                or self.wants_depth())

    def wants_depth(self) -> bool:
        """Tell whether anybody wants what is made with depth."""
        return self._targets.is_watched()

    def end(self) -> None:
        """Stop listening to depth, and let go of what waits for it."""
        self.depth.listen(False)
        self._targets.forget()

    def destroy(self) -> None:
        """Remove the topics from the node."""
        for each in (self._images, self._vision, self._targets, self.depth):
            each.destroy()
