"""The other end of a node on trial: cameras, callers, and everything that is heard from it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header, String

from instructseg_ros.msg import Command, Segmentation
from instructseg_ros.ros import qos
from instructseg_ros.ros.messages import array_to_image
from instructseg_ros.ros.processes import NodeProcess
from instructseg_ros.ros.running import init_ros

NODE: Final = 'segmentation_node'
NAMESPACE: Final = '/trial'
SIZE: Final = (120, 160)
STEADY: Final = 'steady'  # id of the instruction that valid images are answered for
ANSWER_TIMEOUT: Final = 10.0  # s
START_TIMEOUT: Final = 120.0  # s


class Tester:
    """Speaks to one node in the namespace /trial, with the cameras front (raw) and wrist (JPEG).

    Attributes:
        heard: Every reason that came back, in answers and responses.
        mismatches: Results whose header is that of no image shown, or of another than the mask's.
    """

    def __init__(self, process: NodeProcess) -> None:
        """Join the ROS graph beside a node's process."""
        self.process = process
        self._context = rclpy.Context()
        init_ros(context=self._context)
        self.node = rclpy.create_node('tester', namespace=NAMESPACE, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._stamps = itertools.count(time.time_ns(), 50_000_000)
        self._shown: dict[tuple[int, int], bool] = {}
        self._answered: set[tuple[int, int]] = set()
        self.heard: list[str] = []
        self.finals: list[str] = []
        self.mismatches = 0
        publish = self.node.create_publisher
        self.images = publish(Image, 'front/image', qos.reliable())
        self.compressed = publish(CompressedImage, 'wrist/image/compressed', qos.reliable())
        self.depth = publish(Image, 'front/depth/image', qos.reliable())
        self.info = publish(CameraInfo, 'front/camera_info', qos.reliable())
        self.texts = publish(String, 'command', qos.reliable(100))
        self.commands = publish(Command, 'command_request', qos.reliable(100))
        listen = self.node.create_subscription
        listen(Segmentation, 'segmentation', self._on_result, qos.reliable(1000))
        # Wanted, so that they are made.
        listen(PointCloud2, 'front/points', lambda message: None, qos.reliable())
        listen(Image, 'front/overlay', lambda message: None, qos.reliable())

    def close(self) -> None:
        """Leave the ROS graph."""
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def header(self) -> Header:
        """Return the header of the next image."""
        seconds, nanoseconds = divmod(next(self._stamps), 10**9)
        return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id='optical')

    def image(self, **fields: Any) -> Image:
        """Return a small rgb8 image with the next header, its fields changed as given."""
        header = self.header()
        pixels = np.full((*SIZE, 3), header.stamp.nanosec // 10**7 % 200, np.uint8)
        message = array_to_image(pixels, header=header, encoding='rgb8')
        for name, value in fields.items():
            setattr(message, name, value)
        return message

    def show(self, message: Image | CompressedImage) -> None:
        """Publish an image of the front camera, or a compressed one of the wrist's."""
        self._shown[_key(message.header)] = True
        publisher = self.images if isinstance(message, Image) else self.compressed
        publisher.publish(message)

    def ask(self, **fields: Any) -> None:
        """Publish a command."""
        self.commands.publish(Command(**fields))

    def request(self) -> bool:
        """Show a valid image; return whether the steady instruction was answered on it."""
        message = self.image()
        self.show(message)
        return self.wait(lambda: _key(message.header) in self._answered)

    def begin(self) -> bool:
        """Wait for the node and give it the steady instruction; return whether it is answered."""
        inputs = (self.images, self.compressed, self.texts, self.commands)
        self.wait(
            lambda: (
                all(each.get_subscription_count() for each in inputs)
                and self.node.count_publishers('segmentation')
            ),
            timeout=START_TIMEOUT,
        )
        return self.wait(self._is_followed, timeout=START_TIMEOUT)

    def _is_followed(self) -> bool:
        """Ask once more, because a node that was killed may still seem to be there."""
        self.ask(id=STEADY, instruction='the red mug', cameras=['front', 'wrist'])
        message = self.image()
        self.show(message)
        return self.wait(lambda: _key(message.header) in self._answered, timeout=1.0)

    def call(
        self, service_type: type, name: str, request: Any, *, timeout: float = ANSWER_TIMEOUT
    ) -> Any:
        """Call a service of the node; return its response, or None without one in time."""
        client: Any = self.node.create_client(
            service_type, f'{NODE}/{name}', qos_profile=qos.reliable(100)
        )
        future = None
        if self.wait(client.service_is_ready):
            future = client.call_async(request)
            self.wait(future.done, timeout=timeout)
        self.node.destroy_client(client)
        return future.result() if future is not None and future.done() else None

    def set_parameters(self, *, atomically: bool = False, **values: Any) -> None:
        """Set parameters and hear why they are refused."""
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        if atomically:
            response = self.call(
                SetParametersAtomically,
                'set_parameters_atomically',
                SetParametersAtomically.Request(parameters=parameters),
            )
            results = [response.result] if response else []
        else:
            response = self.call(
                SetParameters, 'set_parameters', SetParameters.Request(parameters=parameters)
            )
            results = response.results if response else []
        self.heard += [result.reason for result in results]

    def is_explained(self, text: str, since: int) -> bool:
        """Tell whether a text was heard since then, or stands in the log of the node."""
        return any(text in reason for reason in self.heard[since:]) or (
            text in self.process.log.read_text(errors='replace')
        )

    def wait(self, condition: Callable[[], object], *, timeout: float = ANSWER_TIMEOUT) -> bool:
        """Listen until a condition holds; return whether it did in time."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def listen(self, seconds: float) -> None:
        """Listen for some time."""
        self.wait(lambda: False, timeout=seconds)

    def _on_result(self, result: Segmentation) -> None:
        self.heard.append(result.reason)
        if result.final:
            self.finals.append(result.command_id)
        if not result.camera or result.final:
            return
        key = _key(result.header)
        if result.header.frame_id and key not in self._shown:
            self.mismatches += 1
        if result.mask.width and result.mask.header != result.header:
            self.mismatches += 1
        if result.command_id == STEADY and result.state in (
            Segmentation.FOUND,
            Segmentation.NOT_FOUND,
        ):
            self._answered.add(key)


def _key(header: Header) -> tuple[int, int]:
    return header.stamp.sec, header.stamp.nanosec
