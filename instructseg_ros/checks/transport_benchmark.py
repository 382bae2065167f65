"""Measures the cost of an image without the model: reading it and publishing the results."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from instructseg_ros import interruption
from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.model.process_memory import keep_freed_memory
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import parameters, qos
from instructseg_ros.ros.messages import (
    array_to_image,
    image_to_rgb,
    nanoseconds_to_stamp,
    stamp_to_nanoseconds,
)
from instructseg_ros.ros.node_runner import init_ros
from instructseg_ros.ros.outputs import ResultPublisher
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.labels import Labels
from instructseg_ros.streaming.segmentation import Segmentation, State

SIZE: Final = (1080, 1920)  # height and width of the images, pixels
RATE: Final = 30.0  # Hz
NAMESPACE: Final = '/transport'
WARM_UP: Final = 10  # images
TIMEOUT: Final = 60.0  # s


def benchmark_transport(*, frames: int) -> dict[str, Any]:
    """Measure the cost of 1920x1080 bgr8 images at 30 Hz.

    Returns:
        Medians in ms: `convert_publish_ms`, CPU time of one thread to read an image and publish
        `segmentation` and `mask` to another process; `interprocess_ms`, time from the camera's
        process to the callback in this one; `conversion_ms`, time to read an image; and
        `cv_bridge_ms`, time of cv_bridge to read one, None if it is not installed. Also `frames`,
        the number of measured images.
    """
    keep_freed_memory()
    init_ros()
    camera = subprocess.Popen([sys.executable, '-m', 'instructseg_ros.checks.transport_benchmark'])
    try:
        node = _Node(frames)
        node.run()
    finally:
        camera.kill()
        camera.wait()
        rclpy.try_shutdown()
    message = _camera_image()
    return {
        'convert_publish_ms': _median_ms(node.costs[WARM_UP:]),
        'interprocess_ms': _median_ms(node.ages[WARM_UP:]),
        'conversion_ms': _median_ms(_times(lambda: image_to_rgb(message), frames)),
        'cv_bridge_ms': _time_cv_bridge(message, frames),
        'frames': len(node.costs) - WARM_UP,
    }


def run_camera() -> None:
    """Publish images, and subscribe to the results, until the process is ended."""
    interruption.raise_again()
    keep_freed_memory()
    init_ros()
    node = rclpy.create_node('transport_camera', namespace=NAMESPACE)
    publisher = node.create_publisher(Image, 'image', qos.sensor())
    for message_type, topic in ((SegmentationMessage, 'segmentation'), (Image, 'mask')):
        node.create_subscription(message_type, topic, lambda message: None, qos.reliable())
    message = _camera_image()

    def publish() -> None:
        message.header.stamp = nanoseconds_to_stamp(time.time_ns())
        publisher.publish(message)

    node.create_timer(1.0 / RATE, publish)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


class _Node(LifecycleNode):
    """Receives images and publishes a found target for each.

    Attributes:
        costs: CPU time of this thread for each image, s.
        ages: Time from the camera's process to the callback for each image, s.
    """

    def __init__(self, frames: int) -> None:
        super().__init__('transport', namespace=NAMESPACE)
        parameters.declare(self, SegmentationParameters)
        values = parameters.read(self, SegmentationParameters)
        self._outputs = ResultPublisher(self, values, Labels(), warn=self.get_logger().warning)
        self.trigger_configure()
        self.trigger_activate()
        self._frames = WARM_UP + frames
        rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
        self._mask = (rows - 500) ** 2 + (columns - 900) ** 2 < 200**2
        self._probability = self._mask.astype(np.float32)
        self._instruction = Instruction(text='the red mug')
        self.costs: list[float] = []
        self.ages: list[float] = []
        self.create_subscription(Image, 'image', self._on_image, qos.sensor())

    def run(self) -> None:
        """Receive the images.

        Raises:
            RuntimeError: Not enough images arrive.
        """
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        deadline = time.monotonic() + TIMEOUT + self._frames
        while len(self.costs) < self._frames:
            if time.monotonic() > deadline:
                raise RuntimeError(f'only {len(self.costs)} images arrived')
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()
        self.destroy_node()

    def _on_image(self, message: Image) -> None:
        self.ages.append((time.time_ns() - stamp_to_nanoseconds(message.header.stamp)) / NANO)
        begun = time.thread_time()
        result = Segmentation(
            instruction=self._instruction,
            state=State.FOUND,
            score=0.9,
            header=message.header,
            image=image_to_rgb(message),
            mask=self._mask,
            probability=self._probability,
        )
        self._outputs.publish([result])
        self.costs.append(time.thread_time() - begun)


def _camera_image() -> Image:
    """Return a 1920x1080 bgr8 image of noise."""
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    return array_to_image(pixels, header=Header(frame_id='optical'), encoding='bgr8')


def _time_cv_bridge(message: Image, frames: int) -> float | None:
    try:
        from cv_bridge import CvBridge
    except ImportError:
        return None
    bridge = CvBridge()
    return _median_ms(_times(lambda: bridge.imgmsg_to_cv2(message, 'rgb8'), frames))


def _times(work: Callable[[], Any], count: int) -> list[float]:
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return times


def _median_ms(seconds: list[float]) -> float:
    return round(1e3 * statistics.median(seconds), 3)


if __name__ == '__main__':
    run_camera()
