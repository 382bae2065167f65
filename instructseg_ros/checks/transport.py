"""What a node does with an image besides the model: reading it, and publishing what was found."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image

from instructseg_ros.checks.transport_peer import RESULTS, SIZE, camera_image
from instructseg_ros.model.memory import keep_freed_memory
from instructseg_ros.ros import parameters, qos
from instructseg_ros.ros.messages import NANO, image_to_rgb, stamp_to_nanoseconds
from instructseg_ros.ros.outputs import ResultPublisher
from instructseg_ros.ros.running import init_ros
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.labels import Labels
from instructseg_ros.streaming.segmentation import Segmentation, State

WARM_UP: Final = 10  # images
TIMEOUT: Final = 60.0  # s


def benchmark_transport(*, frames: int) -> dict[str, Any]:
    """Measure what 1920x1080 bgr8 images at 30 Hz cost.

    Returns:
        Medians in ms: `convert_publish_ms`, CPU time of one thread for reading an image and
        publishing `segmentation` and `mask`, to both of which another process subscribes;
        `interprocess_ms`, from a camera's process to the callback in this one; `conversion_ms`,
        for reading it alone; and `cv_bridge_ms`, for cv_bridge to do that, None where it is not
        installed.
    """
    keep_freed_memory()
    init_ros()
    peer = subprocess.Popen([sys.executable, '-m', 'instructseg_ros.checks.transport_peer'])
    try:
        node = _Node(frames)
        node.run()
    finally:
        peer.kill()
        peer.wait()
        rclpy.try_shutdown()
    message = camera_image()
    return {
        'convert_publish_ms': _milliseconds(node.costs),
        'interprocess_ms': _milliseconds(node.ages),
        'conversion_ms': _milliseconds(_times(lambda: image_to_rgb(message), frames)),
        'cv_bridge_ms': _cv_bridge(message, frames),
        'frames': len(node.costs),
    }


class _Node(LifecycleNode):
    """Takes images and publishes for each that something was found."""

    def __init__(self, frames: int) -> None:
        super().__init__('transport', namespace=RESULTS)
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
        self._costs: list[float] = []
        self._ages: list[float] = []
        self.create_subscription(Image, 'image', self._on_image, qos.sensor())

    @property
    def costs(self) -> list[float]:
        """Seconds of this thread for each image."""
        return self._costs[WARM_UP:]

    @property
    def ages(self) -> list[float]:
        """Seconds from the camera's process to the callback."""
        return self._ages[WARM_UP:]

    def run(self) -> None:
        """Take as many images as wanted.

        Raises:
            RuntimeError: They do not come.
        """
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        deadline = time.monotonic() + TIMEOUT + self._frames
        while len(self._costs) < self._frames:
            if time.monotonic() > deadline:
                raise RuntimeError(f'only {len(self._costs)} images came')
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()
        self.destroy_node()

    def _on_image(self, message: Image) -> None:
        self._ages.append((time.time_ns() - stamp_to_nanoseconds(message.header.stamp)) / NANO)
        begun = time.thread_time()
        image = image_to_rgb(message)
        self._outputs.publish(
            [
                Segmentation(
                    instruction=self._instruction,
                    state=State.FOUND,
                    score=0.9,
                    header=message.header,
                    image=image,
                    mask=self._mask,
                    probability=self._probability,
                )
            ]
        )
        self._costs.append(time.thread_time() - begun)


def _cv_bridge(message: Image, frames: int) -> float | None:
    try:
        from cv_bridge import CvBridge
    except ImportError:
        return None
    bridge = CvBridge()
    return _milliseconds(_times(lambda: bridge.imgmsg_to_cv2(message, 'rgb8'), frames))


def _times(work: Callable[[], Any], count: int) -> list[float]:
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return times


def _milliseconds(seconds: list[float]) -> float:
    return round(1e3 * statistics.median(seconds), 3)
