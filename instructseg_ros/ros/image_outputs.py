"""The images of a camera's frames: mask, labels, confidence and overlay."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from instructseg_ros.ros.camera_input import camera_topic
from instructseg_ros.ros.conversions import array_to_image, mask_to_image
from instructseg_ros.ros.endpoints import create_publisher
from instructseg_ros.streaming.labels import Labels, confidence, union
from instructseg_ros.streaming.overlay import draw_overlay
from instructseg_ros.streaming.segmentation import Segmentation

Results = Sequence[Segmentation]


class ImageOutputs:
    """Draws and publishes what somebody subscribes to, with the header of the source image."""

    def __init__(self, node: LifecycleNode, camera: str, labels: Labels, *,
                 label_encoding: str) -> None:
        """Create the publishers on a node.

        Args:
            node: Owner of the publishers.
            camera: Name of the camera, the namespace of the topics.
            labels: Numbers of the instructions.
            label_encoding: 16UC1 or mono8.
        """
        self._node = node
        self._labels = labels
        self._label_encoding = label_encoding
        self._makers: dict[LifecyclePublisher, Callable[[Results, Header], Image]] = {
            create_publisher(node, Image, camera_topic(camera, name)): make
            for name, make in (('mask', _mask), ('labels', self._draw_labels),
                               ('confidence', _confidence), ('overlay', self._draw_overlay))}

    def publish(self, results: Results) -> None:
        """Publish the images of one frame, given all its results, with masks."""
        for publisher, make in self._makers.items():
            if publisher.get_subscription_count():
                publisher.publish(make(results, results[0].header))

    def is_watched(self) -> bool:
        """Tell whether anybody subscribes to one of them."""
        return any(publisher.get_subscription_count() for publisher in self._makers)

    def destroy(self) -> None:
        """Remove the publishers from the node."""
        for publisher in self._makers:
            self._node.destroy_lifecycle_publisher(publisher)

    def _draw_labels(self, results: Results, header: Header) -> Image:
        dtype = np.uint8 if self._label_encoding == 'mono8' else np.uint16
        return array_to_image(self._labels.draw(results).astype(dtype, copy=False),
                              header=header, encoding=self._label_encoding)

    def _draw_overlay(self, results: Results, header: Header) -> Image:
        assert results[0].image is not None
        opacity = self._node.get_parameter('overlay_opacity').value
        drawn = draw_overlay(results[0].image, *results, opacity=opacity,
                             colors=[self._labels.number(result) - 1 for result in results])
        return array_to_image(drawn, header=header, encoding='rgb8')


def _mask(results: Results, header: Header) -> Image:
    return mask_to_image(union(results), header=header)


def _confidence(results: Results, header: Header) -> Image:
    return array_to_image(confidence(results), header=header, encoding='mono8')
