"""Test node for a segmentation node: publishes images and commands, and records the results."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from instructseg_ros.msg import Command, Segmentation
from instructseg_ros.ros import qos
from instructseg_ros.ros.launching import NodeProcess
from instructseg_ros.ros.messages import array_to_image, nanoseconds_to_stamp
from instructseg_ros.ros.node_runner import init_ros

NAMESPACE: Final = '/trial'
SIZE: Final = (120, 160)  # height and width of the images, pixels
STEADY: Final = 'steady'  # id of the instruction that valid requests rely on
RESULT_TIMEOUT: Final = 10.0  # s
START_TIMEOUT: Final = 120.0  # s
ANSWERED: Final = (Segmentation.FOUND, Segmentation.NOT_FOUND)


def start_node(
    log: Path, *, model: str = 'embedded', device: str = 'auto', image_timeout: float = 2.0
) -> NodeProcess:
    """Start a node in the namespace of the tester, with its cameras."""
    return NodeProcess(
        'segmentation_node',
        log,
        arguments=['-r', f'__ns:={NAMESPACE}'],
        parameters={
            'model': model,
            'device': device,
            'cameras': '[front, wrist]',
            'image_transports': '[raw, compressed]',
            'max_instructions': 8,
            'image_timeout': image_timeout,
            'max_age': 5.0,
        },
    )


class NodeTester:
    """Communicates with one node that has the cameras front (raw) and wrist (compressed).

    Attributes:
        process: The node.
        node: The test node.
        images: Publisher of the front camera.
        reasons: Reasons in all results.
        ended: Command ids of all final results.
        mismatches: Results whose header fits no published image, or differs from their mask's.
    """

    def __init__(self, process: NodeProcess) -> None:
        """Join the ROS graph."""
        self.process = process
        self._context = rclpy.Context()
        init_ros(context=self._context)
        self.node = rclpy.create_node('tester', namespace=NAMESPACE, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._stamps = itertools.count(time.time_ns(), 50_000_000)
        self._published: set[tuple[int, int]] = set()
        self._answered: set[tuple[int, int]] = set()
        self.reasons: list[str] = []
        self.ended: list[str] = []
        self.mismatches = 0
        publish = self.node.create_publisher
        self.images = publish(Image, 'front/image', qos.reliable())
        self._compressed = publish(CompressedImage, 'wrist/image/compressed', qos.reliable())
        self._commands = publish(Command, 'command_request', qos.reliable(100))
        subscribe = self.node.create_subscription
        subscribe(Segmentation, 'segmentation', self._on_result, qos.reliable(1000))
        # The node draws the overlay only for a subscriber.
        subscribe(Image, 'front/overlay', lambda message: None, qos.reliable())

    def close(self) -> None:
        """Leave the ROS graph."""
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def header(self) -> Header:
        """Return the header of the next image."""
        return Header(stamp=nanoseconds_to_stamp(next(self._stamps)), frame_id='optical')

    def image(self, **fields: Any) -> Image:
        """Return a small rgb8 image with the next header; `fields` replace its fields."""
        header = self.header()
        pixels = np.full((*SIZE, 3), header.stamp.nanosec // 10**7 % 200, np.uint8)
        message = array_to_image(pixels, header=header, encoding='rgb8')
        for name, value in fields.items():
            setattr(message, name, value)
        return message

    def publish_image(self, message: Image | CompressedImage) -> None:
        """Publish a raw image of the front camera or a compressed one of the wrist camera."""
        self._published.add(_key(message.header))
        publisher = self.images if isinstance(message, Image) else self._compressed
        publisher.publish(message)

    def send(self, **fields: Any) -> None:
        """Publish a command."""
        self._commands.publish(Command(**fields))

    def request(self, timeout: float = RESULT_TIMEOUT) -> bool:
        """Publish a valid image; return whether the steady instruction got a result on it."""
        message = self.image()
        self.publish_image(message)
        return self.wait(lambda: _key(message.header) in self._answered, timeout=timeout)

    def connect(self) -> bool:
        """Wait for the node and send the steady instruction; return whether it got a result."""
        inputs = (self.images, self._compressed, self._commands)
        self.wait(
            lambda: (
                all(each.get_subscription_count() for each in inputs)
                and self.node.count_publishers('segmentation')
            ),
            timeout=START_TIMEOUT,
        )
        return self.wait(self._try_request, timeout=START_TIMEOUT)

    def _try_request(self) -> bool:
        # Repeat the instruction each time: the graph may still show a killed node.
        self.send(id=STEADY, instruction='the red mug', cameras=['front', 'wrist'])
        return self.request(timeout=1.0)

    def wait(self, condition: Callable[[], object], *, timeout: float = RESULT_TIMEOUT) -> bool:
        """Spin until a condition holds; return whether it did in time."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def spin(self, seconds: float) -> None:
        """Spin for some time."""
        self.wait(lambda: False, timeout=seconds)

    def _on_result(self, result: Segmentation) -> None:
        self.reasons.append(result.reason)
        if result.final:
            self.ended.append(result.command_id)
        if not result.camera or result.final:
            return
        key = _key(result.header)
        if result.header.frame_id and key not in self._published:
            self.mismatches += 1
        if result.mask.width and result.mask.header != result.header:
            self.mismatches += 1
        if result.command_id == STEADY and result.state in ANSWERED:
            self._answered.add(key)


def _key(header: Header) -> tuple[int, int]:
    return header.stamp.sec, header.stamp.nanosec
