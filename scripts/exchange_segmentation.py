"""Publishes or receives one message, to test a build.

Usage: python exchange_segmentation.py publish|subscribe PREFIX. Fails unless instructseg_ros is
installed under PREFIX. The subscriber exits after the first message.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import rclpy
from rclpy.node import Node

from instructseg_ros import msg
from instructseg_ros.msg import Segmentation
from instructseg_ros.ros.node_runner import init_ros

TOPIC = 'segmentation'
INSTRUCTION = 'the red mug'


def main() -> None:
    """Publish or subscribe, according to the first argument."""
    role, prefix = sys.argv[1], Path(sys.argv[2]).resolve()
    place = Path(msg.__file__).resolve()
    if prefix not in place.parents:
        sys.exit(f'instructseg_ros.msg comes from {place}, not from {prefix}')
    init_ros()
    node = Node(role)
    if role == 'publish':
        publish(node)
    else:
        print(subscribe(node), 'with messages from', place.parent, flush=True)


def publish(node: Node) -> None:
    """Publish the same message until killed."""
    publisher = node.create_publisher(Segmentation, TOPIC, 1)
    message = Segmentation(instruction=INSTRUCTION, state=Segmentation.FOUND, score=0.5)
    while True:
        publisher.publish(message)
        time.sleep(0.1)


def subscribe(node: Node) -> Segmentation:
    """Wait for a message, check it and return it."""
    received: list[Segmentation] = []
    node.create_subscription(Segmentation, TOPIC, received.append, 1)
    while not received:
        rclpy.spin_once(node)
    message = received[0]
    if (message.instruction, message.state, message.score) != (
        INSTRUCTION,
        Segmentation.FOUND,
        0.5,
    ):
        sys.exit(f'unexpected message: {message}')
    return message


if __name__ == '__main__':
    main()
