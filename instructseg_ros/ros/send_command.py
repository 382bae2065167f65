"""Sends an instruction to a node from a terminal and prints the results."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Final

import rclpy
from rclpy.node import Node

from instructseg_ros.msg import Command
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import qos
from instructseg_ros.ros.client import is_connected
from instructseg_ros.ros.messages import stamp_to_nanoseconds, stop_reason
from instructseg_ros.ros.node_runner import init_ros, spin_until
from instructseg_ros.ros.transport import discovery_advice
from instructseg_ros.streaming.instruction import new_id
from instructseg_ros.streaming.segmentation import State

SUCCESSFUL: Final = (State.FOUND, State.NOT_FOUND)
STOP_PERIOD: Final = 1.0  # s between attempts to stop


def send(
    text: str, *, timeout: float = 10.0, results: int = 1, ros_args: Sequence[str] = ()
) -> int:
    """Publish an instruction and print its results; the instruction stays active afterwards.

    Args:
        text: The instruction; an empty one stops the previous instruction.
        timeout: Longest time to wait for the node, and then for each result, s.
        results: Number of results to print.
        ros_args: ROS arguments such as `--ros-args -r __ns:=/robot`.

    Returns:
        The exit status: 0 if the last result is FOUND or NOT_FOUND, or if the previous instruction
        is no longer active; else 1.
    """
    init_ros(ros_args)
    try:
        sender = _Sender()
        if text.strip():
            return sender.send(text, timeout=timeout, results=results)
        return sender.stop(timeout=timeout)
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()


def describe(message: SegmentationMessage, *, now: int) -> str:
    """Return a description of a result in one line; `now` is the node's time in nanoseconds."""
    state = State(message.state).name
    if message.state != State.FOUND:
        return f'{state}: {message.reason}'
    box = message.region_of_interest
    age = (now - stamp_to_nanoseconds(message.header.stamp)) * 1e-6
    return (
        f'{state}, score {message.score:.2f}: {message.area} pixels in {box.width} x '
        f'{box.height} at ({box.x_offset}, {box.y_offset}), {age:.0f} ms after the image'
    )


def _is_stop_result(message: SegmentationMessage) -> bool:
    """Return whether a result ends the previous instruction, or rejects a command to stop."""
    if message.state == State.EXPIRED:
        return bool(message.reason.startswith(stop_reason(Command.PERSON)))
    return not (message.command_id or message.instruction)


def _report_timeout(timeout: float) -> int:
    print(
        f'error: no result within {timeout:.0f} s; see the output of the node, or wait longer '
        f'with --timeout',
        file=sys.stderr,
    )
    return 1


class _Sender:
    def __init__(self) -> None:
        self._node: Node = rclpy.create_node('instructseg_send')
        self._results: list[SegmentationMessage] = []
        self._stops: list[SegmentationMessage] = []
        self._id = new_id()
        self._commands = self._node.create_publisher(Command, 'command_request', qos.reliable(10))
        self._node.create_subscription(
            SegmentationMessage, 'segmentation', self._on_result, qos.reliable(10)
        )

    def send(self, text: str, *, timeout: float, results: int) -> int:
        if not self._find_node(timeout):
            return 1
        self._commands.publish(Command(id=self._id, instruction=text, slot=Command.PERSON))
        for count in range(1, results + 1):
            if not spin_until(self._node, lambda: len(self._results) >= count, timeout):  # noqa: B023
                return _report_timeout(timeout)
            result = self._results[count - 1]
            print(describe(result, now=self._node.get_clock().now().nanoseconds), flush=True)
            if result.final:
                break
        return 0 if result.state in SUCCESSFUL else 1

    def stop(self, *, timeout: float) -> int:
        if not self._find_node(timeout):
            return 1
        deadline = time.monotonic() + timeout
        while not self._stops:
            if time.monotonic() > deadline:
                return _report_timeout(timeout)
            # Repeated, because the node may respond before it has discovered this subscription.
            self._commands.publish(Command(slot=Command.PERSON))
            spin_until(self._node, lambda: bool(self._stops), min(timeout, STOP_PERIOD))
        result = self._stops[0]
        if result.state == State.FAILED:
            print(describe(result, now=0))
            return 1
        stopped = result.state == State.EXPIRED
        print(
            f'stopped: {result.instruction}'
            if stopped
            else f'no instruction is active in slot "{Command.PERSON}"'
        )
        return 0

    def _find_node(self, timeout: float) -> bool:
        if spin_until(self._node, lambda: is_connected(self._node, self._commands), timeout):
            return True
        topic = self._commands.topic_name
        print(
            f'error: no node subscribes to {topic}; is segmentation_node running and active, and '
            f'did its model load? See its output{discovery_advice()}',
            file=sys.stderr,
        )
        return False

    def _on_result(self, message: SegmentationMessage) -> None:
        if message.command_id == self._id:
            self._results.append(message)
        if _is_stop_result(message):
            self._stops.append(message)
