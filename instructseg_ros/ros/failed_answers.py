"""Answers to commands while the node has no model to follow them with."""

from __future__ import annotations

import dataclasses

from rclpy.node import Node
from std_msgs.msg import String

from instructseg_ros.msg import Command
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import qos
from instructseg_ros.ros.messages import rejection, segmentation_to_message
from instructseg_ros.streaming.segmentation import State


class FailedAnswers:
    """Answers every command FAILED, with the reason why the node is not configured."""

    def __init__(self, node: Node, reason: str) -> None:
        """Begin to listen; `destroy` ends it."""
        self._node = node
        self._reason = reason
        # Not of the lifecycle: those publish while the node is active, which it cannot be.
        self._results = node.create_publisher(SegmentationMessage, 'segmentation', qos.reliable())
        self._inputs = [
            node.create_subscription(String, 'command', self._on_text, qos.reliable(10)),
            node.create_subscription(Command, 'command_request', self._on_command,
                                     qos.reliable(10)),
        ]

    def destroy(self) -> None:
        """Remove the topics from the node."""
        for subscription in self._inputs:
            self._node.destroy_subscription(subscription)
        self._node.destroy_publisher(self._results)

    def _on_text(self, message: String) -> None:
        self._on_command(Command(instruction=message.data))

    def _on_command(self, message: Command) -> None:
        answer = rejection(message.instruction, self._reason, id=message.id)
        self._results.publish(segmentation_to_message(
            dataclasses.replace(answer, state=State.FAILED),
            now=self._node.get_clock().now().to_msg()))
