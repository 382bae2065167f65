"""A node process under test, and a test node that communicates with it over DDS."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from instructseg_ros.msg import Command, Segmentation
from instructseg_ros.ros.messages import stamp_to_nanoseconds
from instructseg_ros.srv import Cancel

TIMEOUT = 300.0
SIZE = (48, 64)
# Commands a second: a test and its waiting for the node are a flood for the default of 10.
COMMAND_RATE = 1000.0
BARRIER = '[SEG] barrier '  # Begins commands that every node rejects.
# Shared by all probes, so that a node never sees a stamp twice.
STAMPS = itertools.count(1_000_000_000, 50_000_000)


class NodeProcess:
    """One of the package's nodes as a process of its own; its output goes to a file."""

    def __init__(
        self, module: str, output: Path, *, parameters: dict[str, Any], namespace: str = '/'
    ) -> None:
        self._output = output
        arguments = ['--ros-args', '-r', f'__ns:={namespace}']
        for name, value in parameters.items():
            arguments += ['-p', f'{name}:={value}']
        room = 'tabletop' if module == 'sim_camera' else 'ros'
        code = f'import sys; from instructseg_ros.{room}.{module} import main; sys.exit(main())'
        with output.open('w') as stream:
            self.process = subprocess.Popen(
                [sys.executable, '-c', code, *arguments],
                stdout=stream,
                stderr=stream,
                env={**os.environ, 'OMP_NUM_THREADS': '1'},
            )

    def output(self) -> str:
        return self._output.read_text()

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal, wait for the end and return the exit status."""
        self.process.send_signal(number)
        try:
            return self.process.wait(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def wait_for_output(self, text: str) -> None:
        wait_until(lambda: text in self.output() or self.process.poll() is not None)
        assert text in self.output(), self.output()


class Probe:
    """Publishes images and commands in a namespace and keeps every answer.

    Attributes:
        results: Answers in the order of their arrival, without those to images of earlier tests.
    """

    def __init__(self, namespace: str, *, cameras: Sequence[str] = ('',)) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node: Node = rclpy.create_node('probe', namespace=namespace, context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._images = {
            camera: self.node.create_publisher(Image, f'{camera}/image'.strip('/'), 10)
            for camera in cameras
        }
        self._texts = self.node.create_publisher(String, 'command', 10)
        # Last: a node that hears this publisher has discovered those before it, too.
        self._commands = self.node.create_publisher(Command, 'command_request', 10)
        self._barriers = itertools.count()
        self._passed: set[str] = set()
        self._first_stamp = 0
        self.results: list[Segmentation] = []
        self.node.create_subscription(Segmentation, 'segmentation', self._on_result, 100)

    def subscribe(self, message_type: type, topic: str, messages: list[Any]) -> None:
        self.node.create_subscription(message_type, topic, messages.append, 10)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def wait_for_node(self) -> None:
        """Wait until this probe and the active node have discovered each other."""
        self.settle()

    def settle(self) -> None:
        """Wait until the node has handled every command that was sent before.

        Each topic keeps its order: when the node has rejected a command that cannot be followed,
        it has handled those before it.
        """
        self._send_until_rejected(self.send_text)
        self._send_until_rejected(lambda text: self.request(instruction=text))

    def begin_test(self) -> None:
        """End all instructions, show a first image, and forget every answer so far.

        The node keeps its newest image, and answers later instructions on it: afterwards it is
        one that belongs to this test.
        """
        self.call(Cancel, 'segmentation_node/cancel', Cancel.Request())
        self._first_stamp = next(STAMPS)
        self.request(id='first image', instruction='the mug')
        self.show_until_answered()
        self.call(Cancel, 'segmentation_node/cancel', Cancel.Request())
        self.settle()
        self.results.clear()

    def show_until(
        self, condition: Callable[[Header], bool], *, show: Callable[[], Header] | None = None
    ) -> Segmentation:
        """Show images until a condition holds for one of them; return the answer to that image.

        A single image is not enough: it may be lost, as a sensor's may, and the node may not have
        discovered a new subscription yet.
        """
        shown: list[Header] = []

        def fitting() -> list[Header]:
            return [header for header in shown if condition(header)]

        deadline = time.monotonic() + TIMEOUT
        while not fitting():
            assert time.monotonic() < deadline, 'no image fulfilled the condition'
            shown.append((show or self.show)())
            self._spin_until(fitting, seconds=2.0)
        return self.answer_to(fitting()[0])

    def show_until_answered(self, **options: Any) -> Segmentation:
        """Show images until one is answered, and return the answer."""
        return self.show_until(lambda header: header in headers(self.results), **options)

    def _send_until_rejected(self, send: Callable[[str], object]) -> None:
        text = f'{BARRIER}{next(self._barriers)}'
        deadline = time.monotonic() + TIMEOUT
        while text not in self._passed:
            assert time.monotonic() < deadline, f'"{text}" was not answered'
            send(text)
            self._spin_until(lambda: text in self._passed, seconds=2.0)

    def _on_result(self, result: Segmentation) -> None:
        if result.instruction.startswith(BARRIER):
            self._passed.add(result.instruction)
        elif not 0 < stamp_to_nanoseconds(result.header.stamp) < self._first_stamp:
            self.results.append(result)

    def _spin_until(self, condition: Callable[[], object], *, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.05)

    def wait(self, condition: Callable[[], object], *, timeout: float = TIMEOUT) -> None:
        wait_until(
            condition, idle=lambda: self._executor.spin_once(timeout_sec=0.05), timeout=timeout
        )

    def spin(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.02)

    def call(self, service_type: type, name: str, request: Any) -> Any:
        """Call a service and return its response."""
        client = self.node.create_client(service_type, name)
        self.wait(client.service_is_ready)
        future = client.call_async(request)
        self.wait(future.done)
        self.node.destroy_client(client)
        return future.result()

    def set_parameter(self, name: str, value: float) -> None:
        """Set a parameter of the node."""
        response = self.call(
            SetParameters,
            'segmentation_node/set_parameters',
            SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()]),
        )
        assert response.results[0].successful

    def set_threshold(self, value: float) -> None:
        """Set the node's parameter `threshold`."""
        self.set_parameter('threshold', value)

    def send_text(self, text: str) -> None:
        self._texts.publish(String(data=text))

    def request(self, **fields: Any) -> None:
        self._commands.publish(Command(**fields))

    def insist(self, **fields: Any) -> Segmentation:
        """Send a request until a final result arrives; the first may be lost before discovery."""
        deadline = time.monotonic() + TIMEOUT
        while not any(result.final for result in self.results):
            assert time.monotonic() < deadline, f'{fields} was not answered'
            self.request(**fields)
            self.spin(1.0)
        return self.answer(lambda result: result.final)

    def picture(self, **fields: Any) -> Image:
        """A small rgb8 image with the next stamp, its fields changed as given."""
        stamp = next(STAMPS)
        seconds, nanoseconds = divmod(stamp, 10**9)
        header = Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id='optical')
        pixels = np.full((*SIZE, 3), stamp // 50_000_000 % 200, np.uint8)
        return Image(
            **{
                'header': header,
                'height': SIZE[0],
                'width': SIZE[1],
                'encoding': 'rgb8',
                'step': SIZE[1] * 3,
                'data': array('B', pixels.tobytes()),
                **fields,
            }
        )

    def show(self, camera: str = '', **fields: Any) -> Header:
        """Publish a picture of a camera and return its header."""
        picture = self.picture(**fields)
        self._images[camera].publish(picture)
        return picture.header

    def answer(self, select: Callable[[Segmentation], bool] = lambda result: True) -> Segmentation:
        """Wait for the first answer so far that fits, and forget it and those before it."""
        self.wait(lambda: any(map(select, self.results)))
        index = next(i for i, result in enumerate(self.results) if select(result))
        answer = self.results[index]
        del self.results[: index + 1]
        return answer

    def answer_to(self, header: Header) -> Segmentation:
        return self.answer(lambda result: result.header == header)


def wait_until(
    condition: Callable[[], object],
    *,
    idle: Callable[[], object] = lambda: time.sleep(0.05),
    timeout: float = TIMEOUT,
) -> None:
    """Call `idle` until the condition holds; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError('what was waited for did not happen')
        idle()


def headers(messages: Sequence[Any]) -> list[Header]:
    return [message.header for message in messages]
