"""The other process of the transport benchmark: a camera that listens to what is found."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from instructseg_ros import interruption
from instructseg_ros.model.memory import keep_freed_memory
from instructseg_ros.msg import Segmentation
from instructseg_ros.ros import qos
from instructseg_ros.ros.messages import array_to_image
from instructseg_ros.ros.running import init_ros

SIZE = (1080, 1920)
RATE = 30.0  # Hz
CAMERA, RESULTS = 'transport_camera', '/transport'


def camera_image() -> Image:
    """Return a 1920x1080 bgr8 image."""
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    return array_to_image(pixels, header=Header(frame_id='optical'), encoding='bgr8')


def main() -> None:
    """Publish images until the process is ended, stamped as they leave."""
    interruption.raise_again()
    keep_freed_memory()
    init_ros()
    node = rclpy.create_node(CAMERA, namespace=RESULTS)
    publisher = node.create_publisher(Image, 'image', qos.sensor())
    for message_type, topic in ((Segmentation, 'segmentation'), (Image, 'mask')):
        node.create_subscription(message_type, topic, lambda message: None, qos.reliable())
    message = camera_image()

    def show() -> None:
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        message.header.stamp = Time(sec=seconds, nanosec=nanoseconds)
        publisher.publish(message)

    node.create_timer(1.0 / RATE, show)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == '__main__':
    main()
