"""Publishers and subscriptions of this package: overridable, and plain about what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.subscription import Subscription

from instructseg_ros.ros import qos
from instructseg_ros.ros.distribution import PublisherEventCallbacks, SubscriptionEventCallbacks


def create_publisher(node: LifecycleNode, message_type: type, topic: str,
                     profile: QoSProfile | None = None) -> LifecyclePublisher:
    """Create a publisher that works while the node is active.

    Raises:
        rclpy.exceptions.InvalidQosOverridesException: Its parameters `qos_overrides` are wrong.
    """
    name = node.resolve_topic_name(topic)
    events = PublisherEventCallbacks(incompatible_qos=_Warning(
        node, f'a subscriber to {name} asks for {{policy}} that this publisher does not offer, '
        f'and gets nothing; let it ask for less', f'qos_overrides.{name}.publisher'))
    return node.create_lifecycle_publisher(
        message_type, topic, profile or qos.reliable(), event_callbacks=events,
        qos_overriding_options=qos.overridable())


def create_subscription(node: Node, message_type: type, topic: str,
                        callback: Callable[[Any], None], profile: QoSProfile) -> Subscription:
    """Create a subscription.

    Raises:
        rclpy.exceptions.InvalidQosOverridesException: Its parameters `qos_overrides` are wrong.
    """
    name = node.resolve_topic_name(topic)
    events = SubscriptionEventCallbacks(incompatible_qos=_Warning(
        node, f'a publisher on {name} does not offer the {{policy}} that this node asks for, and '
        f'nothing arrives from it; let it offer more', f'qos_overrides.{name}.subscription'))
    return node.create_subscription(
        message_type, topic, callback, profile, event_callbacks=events,
        qos_overriding_options=qos.overridable())


class _Warning:
    """Says once for each policy what does not fit, and the remedy."""

    def __init__(self, node: Node, text: str, overrides: str) -> None:
        self._node = node
        self._text = text
        self._overrides = overrides
        self._said: set[str] = set()

    def __call__(self, event: Any) -> None:
        kind = event.last_policy_kind
        policy = qos_policy_name_from_kind(kind).lower()
        if policy not in self._said:
            self._said.add(policy)
            remedy = f', or set {self._overrides}.{policy}' if kind in qos.KINDS else ''
            self._node.get_logger().warning(self._text.format(policy=policy) + remedy)
