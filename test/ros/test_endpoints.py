from __future__ import annotations

from collections.abc import Iterator

import pytest
import rclpy
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_probe import wait_until
from std_msgs.msg import String

from instructseg_ros.ros import qos
from instructseg_ros.ros.qos import create_publisher, create_subscription

pytestmark = pytest.mark.ros


@pytest.fixture
def node(domain: None) -> Iterator[LifecycleNode]:
    context = rclpy.Context()
    rclpy.init(context=context)
    made = LifecycleNode('endpoints', context=context)
    yield made
    made.destroy_node()
    rclpy.try_shutdown(context=context)


def log(node: LifecycleNode, capfd: pytest.CaptureFixture[str], text: str) -> str:
    """Return the output of the node up to a text."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    logged: list[str] = []

    def spin() -> None:
        executor.spin_once(timeout_sec=0.05)
        logged.append(''.join(capfd.readouterr()))

    wait_until(lambda: text in ''.join(logged), idle=spin)
    executor.shutdown()
    return ''.join(logged)


def test_an_incompatible_qos_is_reported_with_the_parameter_that_helps(
    node: LifecycleNode, capfd: pytest.CaptureFixture[str]
) -> None:
    node.create_publisher(
        String, 'talk', QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    create_subscription(node, String, 'talk', lambda _: None, qos.reliable())
    logged = log(node, capfd, 'a publisher on /talk does not offer the reliability')
    assert 'or set qos_overrides./talk.subscription.reliability' in logged


def test_an_incompatible_qos_without_an_override_names_no_parameter(
    node: LifecycleNode, capfd: pytest.CaptureFixture[str]
) -> None:
    create_publisher(node, String, 'talk')
    node.create_subscription(
        String, 'talk', lambda _: None, QoSProfile(depth=1, deadline=Duration(seconds=1))
    )
    logged = log(node, capfd, 'a subscriber to /talk requests a deadline')
    assert 'let it request less' in logged and 'qos_overrides' not in logged
