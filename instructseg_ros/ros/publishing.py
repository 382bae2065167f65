"""Results out: the message, and the images that somebody subscribes to."""

from __future__ import annotations

import numpy as np
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from sensor_msgs.msg import Image

from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import qos
from instructseg_ros.ros.conversions import array_to_image, mask_to_image
from instructseg_ros.ros.messages import segmentation_to_message
from instructseg_ros.streaming.overlay import draw_overlay
from instructseg_ros.streaming.segmentation import Segmentation, State


class ResultPublisher:
    """Publishes on `segmentation`, `mask`, `confidence` and `overlay`; any thread may call it."""

    def __init__(self, node: LifecycleNode) -> None:
        """Create the publishers on a node; they work while it is active."""
        self._node = node
        self._segmentation = self._create(SegmentationMessage, 'segmentation')
        self._mask = self._create(Image, 'mask')
        self._confidence = self._create(Image, 'confidence')
        self._overlay = self._create(Image, 'overlay')

    def publish(self, result: Segmentation) -> None:
        """Publish a result; its images only where there is a frame and a subscriber."""
        now = self._node.get_clock().now().to_msg()
        self._segmentation.publish(segmentation_to_message(result, now=now))
        if result.mask is None or result.probability is None or result.image is None:
            return
        found = result.state is State.FOUND
        if self._mask.get_subscription_count():
            mask = result.mask if found else np.zeros_like(result.mask)
            self._mask.publish(mask_to_image(mask, header=result.header))
        if self._confidence.get_subscription_count():
            levels = (result.probability * 255.0).round().astype(np.uint8)
            self._confidence.publish(
                array_to_image(levels, header=result.header, encoding='mono8'))
        if self._overlay.get_subscription_count():
            opacity = self._node.get_parameter('overlay_opacity').value
            self._overlay.publish(array_to_image(
                draw_overlay(result.image, result, opacity=opacity), header=result.header,
                encoding='rgb8'))

    def destroy(self) -> None:
        """Remove the publishers from the node."""
        for publisher in (self._segmentation, self._mask, self._confidence, self._overlay):
            self._node.destroy_lifecycle_publisher(publisher)

    def _create(self, message_type: type, topic: str) -> LifecyclePublisher:
        return self._node.create_lifecycle_publisher(
            message_type, topic, qos.reliable(), qos_overriding_options=qos.overridable())
