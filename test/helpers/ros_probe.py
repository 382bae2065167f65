"""A node process under test, and a node beside it that speaks to it over real DDS."""

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
from instructseg_ros.srv import Cancel

TIMEOUT = 120.0
SIZE = (48, 64)
# Of all probes, so that a node never sees one twice.
STAMPS = itertools.count(1_000_000_000, 50_000_000)


class NodeProcess:
    """One of the package's nodes as a process of its own; its output goes to a file."""

    def __init__(self, module: str, output: Path, *, parameters: dict[str, Any],
                 namespace: str = '/') -> None:
        self._output = output
        arguments = ['--ros-args', '-r', f'__ns:={namespace}']
        for name, value in parameters.items():
            arguments += ['-p', f'{name}:={value}']
        code = f'import sys; from instructseg_ros.ros.{module} import main; sys.exit(main())'
        with output.open('w') as stream:
            self.process = subprocess.Popen(
                [sys.executable, '-c', code, *arguments], stdout=stream, stderr=stream,
                env={**os.environ, 'OMP_NUM_THREADS': '1'})

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
    """Publishes images and commands in a namespace and keeps every answer."""

    def __init__(self, namespace: str, *, cameras: Sequence[str] = ('',)) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node: Node = rclpy.create_node('probe', namespace=namespace, context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._images = {
            camera: self.node.create_publisher(Image, f'{camera}/image'.strip('/'), 10)
            for camera in cameras}
        self._texts = self.node.create_publisher(String, 'command', 10)
        self._commands = self.node.create_publisher(Command, 'command_request', 10)
        self.results: list[Segmentation] = []
        self.subscribe(Segmentation, 'segmentation', self.results)

    def subscribe(self, message_type: type, topic: str, messages: list[Any]) -> None:
        self.node.create_subscription(message_type, topic, messages.append, 10)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def wait_for_node(self) -> None:
        """Wait until the node is known, and long enough for it to know of this one."""
        publishers = (*self._images.values(), self._texts, self._commands)
        self.wait(lambda: all(p.get_subscription_count() for p in publishers)
                  and self.node.count_publishers('segmentation') > 0)
        self.spin(0.5)

    def show_until_answered(self) -> None:
        """Show pictures until one is answered, for first ones may be lost; leave nothing live."""
        self.say('the red mug')
        deadline = time.monotonic() + TIMEOUT
        while not self.results:
            assert time.monotonic() < deadline, 'no picture was answered'
            self.show()
            self.spin(0.2)
        self.say('')
        self.spin(0.2)
        self.results.clear()

    def wait(self, condition: Callable[[], object], *, timeout: float = TIMEOUT) -> None:
        wait_until(condition, idle=lambda: self._executor.spin_once(timeout_sec=0.05),
                   timeout=timeout)

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

    def end_all(self) -> None:
        """End every instruction, whoever gave it, and forget all results."""
        self.call(Cancel, 'segmentation_node/cancel', Cancel.Request())
        marker = f'marker{next(STAMPS)}'
        self.request(id=marker)  # is refused, after everything else was answered
        self.answer(lambda result: result.command_id == marker)

    def set_threshold(self, value: float) -> None:
        """Set the node's parameter `threshold`."""
        response = self.call(SetParameters, 'segmentation_node/set_parameters',
                             SetParameters.Request(parameters=[
                                 Parameter('threshold', value=value).to_parameter_msg()]))
        assert response.results[0].successful

    def say(self, text: str) -> None:
        self._texts.publish(String(data=text))

    def request(self, **fields: Any) -> None:
        self._commands.publish(Command(**fields))

    def insist(self, **fields: Any) -> Segmentation:
        """Send a request until its end is told: the first results may be sent to nobody."""
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
        return Image(**{
            'header': header, 'height': SIZE[0], 'width': SIZE[1], 'encoding': 'rgb8',
            'step': SIZE[1] * 3, 'data': array('B', pixels.tobytes()), **fields})

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
        del self.results[:index + 1]
        return answer

    def answer_to(self, header: Header) -> Segmentation:
        return self.answer(lambda result: result.header == header)


def wait_until(condition: Callable[[], object], *,
               idle: Callable[[], object] = lambda: time.sleep(0.05),
               timeout: float = TIMEOUT) -> None:
    """Call `idle` until the condition holds; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError('what was waited for did not happen')
        idle()


def headers(messages: Sequence[Any]) -> list[Header]:
    return [message.header for message in messages]
