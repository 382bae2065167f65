"""Sending an instruction to the node from a terminal, and showing the answers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import rclpy
from rclpy.node import Node

from instructseg_ros.msg import Command
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import qos
from instructseg_ros.ros.messages import stamp_to_nanoseconds, stop_reason
from instructseg_ros.ros.running import init_ros
from instructseg_ros.ros.transport import discovery_advice
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import State

ANSWERS = (State.FOUND, State.NOT_FOUND)
REPEAT: Final = 1.0  # s from one attempt to stop to the next


def say(text: str, *, timeout: float = 10.0, answers: int = 1, ros_args: Sequence[str] = ()) -> int:
    """Publish an instruction and print the answers as they come; it stays active afterwards.

    Args:
        text: The instruction; an empty one stops what a person asked for before.
        timeout: Seconds to wait for the node, and then for each answer.
        answers: How many answers to print.
        ros_args: ROS arguments such as `--ros-args -r __ns:=/robot`.

    Returns:
        The exit status: 0 when the last answer is FOUND or NOT_FOUND, or when nothing that a person
        asked for is active any more; else 1.
    """
    init_ros(ros_args)
    try:
        speaker = _Speaker()
        if text.strip():
            return speaker.say(text, timeout=timeout, answers=answers)
        return speaker.stop(timeout=timeout)
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()


def describe(message: SegmentationMessage, *, now: int) -> str:
    """Return an answer in one line; `now` in nanoseconds of the clock of its stamp."""
    state = State(message.state).name
    if message.state != State.FOUND:
        return f'{state}: {message.reason}'
    box = message.region_of_interest
    age = (now - stamp_to_nanoseconds(message.header.stamp)) * 1e-6
    return (
        f'{state}, score {message.score:.2f}: {message.area} pixels in {box.width} x '
        f'{box.height} at ({box.x_offset}, {box.y_offset}), {age:.0f} ms after the image'
    )


def _answers_stop(message: SegmentationMessage) -> bool:
    """Return whether a message ends what a person asked for, or refuses a command without text."""
    if message.state == State.EXPIRED:
        return bool(message.reason.startswith(stop_reason(Command.PERSON)))
    return not (message.command_id or message.instruction)


def _report_silence(timeout: float) -> int:
    print(
        f'error: no answer within {timeout:.0f} s; see what the node printed, or wait longer '
        f'with --timeout',
        file=sys.stderr,
    )
    return 1


class _Speaker:
    def __init__(self) -> None:
        self._node: Node = rclpy.create_node('instructseg_say')
        self._answers: list[SegmentationMessage] = []
        self._stops: list[SegmentationMessage] = []
        self._instruction = Instruction(text='')
        self._commands = self._node.create_publisher(Command, 'command_request', qos.reliable(10))
        self._node.create_subscription(
            SegmentationMessage, 'segmentation', self._on_answer, qos.reliable(10)
        )

    def say(self, text: str, *, timeout: float, answers: int) -> int:
        if not self._find_node(timeout):
            return 1
        self._commands.publish(
            Command(id=self._instruction.id, instruction=text, slot=Command.PERSON)
        )
        for count in range(1, answers + 1):
            if not self._wait(lambda: len(self._answers) >= count, timeout):  # noqa: B023
                return _report_silence(timeout)
            answer = self._answers[count - 1]
            print(describe(answer, now=self._node.get_clock().now().nanoseconds), flush=True)
            if answer.final:
                break
        return 0 if answer.state in ANSWERS else 1

    def stop(self, *, timeout: float) -> int:
        if not self._find_node(timeout):
            return 1
        deadline = time.monotonic() + timeout
        while not self._stops:
            if time.monotonic() > deadline:
                return _report_silence(timeout)
            # Again and again: the node may answer before it knows of this subscription.
            self._commands.publish(Command(slot=Command.PERSON))
            self._wait(lambda: bool(self._stops), min(timeout, REPEAT))
        [answer, *_] = self._stops
        if answer.state == State.FAILED:
            print(describe(answer, now=0))
            return 1
        stopped = answer.state == State.EXPIRED
        print(
            f'stopped: {answer.instruction}'
            if stopped
            else f'no instruction is active in slot "{Command.PERSON}"'
        )
        return 0

    def _find_node(self, timeout: float) -> bool:
        if self._wait(self._is_heard, timeout):
            return True
        topic = self._commands.topic_name
        print(
            f'error: nobody listens on {topic}; is segmentation_node running and active? '
            f'Or did its model not load? See what it printed{discovery_advice()}',
            file=sys.stderr,
        )
        return False

    def _on_answer(self, message: SegmentationMessage) -> None:
        if message.command_id == self._instruction.id:
            self._answers.append(message)
        if _answers_stop(message):
            self._stops.append(message)

    def _is_heard(self) -> bool:
        return bool(
            self._commands.get_subscription_count() and self._node.count_publishers('segmentation')
        )

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            rclpy.spin_once(self._node, timeout_sec=0.1)
        return True
