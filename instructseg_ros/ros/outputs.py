"""Publishes results, and the topics of each camera that show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import qos
from instructseg_ros.ros.depth_input import DepthInput
from instructseg_ros.ros.inputs import camera_topic, image_topic, shows_rectified
from instructseg_ros.ros.messages import array_to_image, mask_to_image, segmentation_to_message
from instructseg_ros.ros.outputs_3d import TargetOutputs, Transforms
from instructseg_ros.ros.qos import create_publisher
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.ros.vision_msgs_outputs import VisionOutputs
from instructseg_ros.streaming.instruction import Instruction, Until
from instructseg_ros.streaming.labels import Labels, confidence, union
from instructseg_ros.streaming.overlay import draw_overlay
from instructseg_ros.streaming.segmentation import Segmentation

Results = Sequence[Segmentation]
RECTIFICATION: Final = {
    True: 'rectified (P of camera_info applies)',
    False: 'raw (K and D of camera_info apply)',
}


class ImageOutputs:
    """Draws and publishes image topics that have subscribers, with the source image's header."""

    def __init__(
        self, node: LifecycleNode, camera: str, labels: Labels, *, label_encoding: str
    ) -> None:
        """Create the publishers.

        Args:
            node: Owner of the publishers.
            camera: Name of the camera, which is the namespace of its topics.
            labels: Numbers of the instructions in label images.
            label_encoding: 16UC1 or mono8.
        """
        self._node = node
        self._labels = labels
        self._label_encoding = label_encoding
        self._makers: dict[LifecyclePublisher, Callable[[Results, Header], Image]] = {
            create_publisher(node, Image, camera_topic(camera, name)): make
            for name, make in (
                ('mask', _mask),
                ('labels', self._draw_labels),
                ('confidence', _confidence),
                ('overlay', self._draw_overlay),
            )
        }

    def publish(self, results: Results) -> None:
        """Publish the images of one frame from all its results that have masks."""
        for publisher, make in self._makers.items():
            if publisher.get_subscription_count():
                publisher.publish(make(results, results[0].header))

    def is_watched(self) -> bool:
        """Return whether one of the topics has a subscriber."""
        return any(publisher.get_subscription_count() for publisher in self._makers)

    def destroy(self) -> None:
        """Remove the publishers from the node."""
        for publisher in self._makers:
            self._node.destroy_lifecycle_publisher(publisher)

    def _draw_labels(self, results: Results, header: Header) -> Image:
        dtype = np.uint8 if self._label_encoding == 'mono8' else np.uint16
        return array_to_image(
            self._labels.draw(results).astype(dtype, copy=False),
            header=header,
            encoding=self._label_encoding,
        )

    def _draw_overlay(self, results: Results, header: Header) -> Image:
        assert results[0].image is not None
        opacity = self._node.get_parameter('overlay_opacity').value
        drawn = draw_overlay(
            results[0].image,
            *results,
            opacity=opacity,
            colors=[self._labels.number(result) - 1 for result in results],
        )
        return array_to_image(drawn, header=header, encoding='rgb8')


def _mask(results: Results, header: Header) -> Image:
    return mask_to_image(union(results), header=header)


def _confidence(results: Results, header: Header) -> Image:
    return array_to_image(confidence(results), header=header, encoding='mono8')


class CameraOutputs:
    """The topics of one camera, in its namespace.

    Attributes:
        depth: Source of depth for the 3-D outputs; subscribed only while they are needed.
    """

    def __init__(
        self,
        node: LifecycleNode,
        camera: str,
        labels: Labels,
        transforms: Transforms,
        values: SegmentationParameters,
        *,
        warn: Callable[[str], object],
    ) -> None:
        """Create the publishers; they publish while the node is active.

        Args:
            node: Owner of the publishers.
            camera: Name of the camera.
            labels: Numbers of the instructions in label images.
            transforms: Transforms to the target frame.
            values: Parameters of the node.
            warn: Called with the reason why something cannot be published.
        """
        self._images = ImageOutputs(node, camera, labels, label_encoding=values.label_encoding)
        self._vision = VisionOutputs(node, camera, labels)
        self.depth = DepthInput(
            node,
            camera,
            slop=values.sync_slop,
            queue=values.sync_queue,
            on_match=lambda *match: self._targets.add_depth(*match),
        )
        topic = image_topic(node, camera)
        rectified = shows_rectified(topic, values.rectification)
        if values.depth:
            node.get_logger().info(
                f'images on {topic} are treated as {RECTIFICATION[rectified]}; set '
                f'rectification if that is wrong'
            )
        self._targets = TargetOutputs(
            node,
            camera,
            self._vision,
            transforms,
            warn=warn,
            source=self.depth,
            rectified=rectified,
        )

    def publish_labels(self, header: Header) -> None:
        """Publish the names of the labels if they have changed."""
        self._vision.publish_labels(header)

    def publish(self, results: Sequence[Segmentation], numbers: Mapping[str, int]) -> None:
        """Publish one frame on each topic that has subscribers.

        Args:
            results: All results of the frame that have masks.
            numbers: Id of each instruction -> its label.
        """
        # Names first: consumers need them to interpret label images.
        self.publish_labels(results[0].header)
        self._images.publish(results)
        self._vision.publish_2d(results, numbers)
        self._targets.add_results(results, numbers)

    def is_watched(self) -> bool:
        """Return whether one of the topics has a subscriber or targets are broadcast."""
        return (
            self._images.is_watched() or self._vision.is_watched('detections') or self.needs_depth()
        )

    def needs_depth(self) -> bool:
        """Return whether an output that needs depth has a subscriber or is broadcast."""
        return self._targets.is_watched()

    def stop(self) -> None:
        """Unsubscribe from depth and drop the results that wait for it."""
        self.depth.enable(False)
        self._targets.clear()

    def destroy(self) -> None:
        """Remove the topics from the node."""
        for each in (self._images, self._vision, self._targets, self.depth):
            each.destroy()


class ResultPublisher:
    """Publishes on `segmentation` and on the topics of the cameras; not thread-safe."""

    def __init__(
        self,
        node: LifecycleNode,
        values: SegmentationParameters,
        labels: Labels,
        *,
        warn: Callable[[str], object],
    ) -> None:
        """Create the publishers; they publish while the node is active.

        Args:
            node: Owner of the publishers.
            values: Parameters of the node.
            labels: Numbers of the instructions in label images.
            warn: Called with the reason why something cannot be published.

        Raises:
            TransformError: A parameter needs tf2, which is not installed.
        """
        self._node = node
        self._labels = labels
        self._last: dict[str, list[Segmentation]] = {}  # camera -> results of its newest frame
        self._uses_depth = values.depth
        self._transforms = Transforms(
            node, target_frame=values.target_frame, broadcast=values.broadcast_targets
        )
        self._segmentation = create_publisher(
            node, SegmentationMessage, 'segmentation', qos.reliable(10)
        )
        self._cameras = {
            camera: CameraOutputs(node, camera, self._labels, self._transforms, values, warn=warn)
            for camera in values.cameras
        }

    def note_image(self, camera: str, header: Header) -> None:
        """Record an image, and subscribe to its depth if an output needs it."""
        outputs = self._cameras[camera]
        outputs.depth.enable(self._uses_depth and outputs.needs_depth())
        outputs.depth.add(header)

    def start(self) -> None:
        """Publish the names of the labels; the node must be active."""
        header = Header(stamp=self._node.get_clock().now().to_msg())
        for outputs in self._cameras.values():
            outputs.publish_labels(header)

    def publish(self, results: Sequence[Segmentation]) -> None:
        """Publish the results of one frame, or a result without a frame.

        Results of one-shot requests (`~/segment`) go to their clients only, not to the topics.
        """
        public = [each for each in results if each.instruction.until is not Until.ANSWERED]
        now = self._node.get_clock().now().to_msg()
        for result in public:
            self._segmentation.publish(segmentation_to_message(result, now=now))
        masked = [each for each in public if each.mask is not None]
        if masked:
            self._publish_frame(masked[0].camera, masked)
        for result in public:
            if result.final:
                self._forget(result.instruction)

    def depth_topics(self) -> list[str]:
        """Return the resolved topics of depth and calibration of all cameras."""
        depths = [outputs.depth for outputs in self._cameras.values()]
        return [topic for each in depths for topic in (each.depth_topic, each.info_topic)]

    def is_watched(self) -> bool:
        """Return whether any output is needed."""
        return bool(self._segmentation.get_subscription_count()) or any(
            outputs.is_watched() for outputs in self._cameras.values()
        )

    def stop(self) -> None:
        """Unsubscribe from depth and drop all results."""
        self._last.clear()
        for outputs in self._cameras.values():
            outputs.stop()

    def destroy(self) -> None:
        """Remove the topics from the node."""
        self._node.destroy_lifecycle_publisher(self._segmentation)
        for outputs in self._cameras.values():
            outputs.destroy()
        self._transforms.destroy()

    def _publish_frame(self, camera: str, results: Sequence[Segmentation]) -> None:
        # An instruction that arrives later gets a separate, later result on the same frame.
        before = [each for each in self._last.get(camera, ()) if each.header is results[0].header]
        self._last[camera] = [*before, *results]
        # Fixed now: a number may have been reused by the time the depth of this frame arrives.
        numbers = {each.instruction.id: self._labels.number(each) for each in self._last[camera]}
        self._cameras[camera].publish(self._last[camera], numbers)

    def _forget(self, instruction: Instruction) -> None:
        for camera, results in self._last.items():
            self._last[camera] = [each for each in results if each.instruction is not instruction]
