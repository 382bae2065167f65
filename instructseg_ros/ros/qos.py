"""Quality of service of every topic, and publishers and subscriptions that users can override."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QosCallbackResult, QoSOverridingOptions
from rclpy.subscription import Subscription

from instructseg_ros.ros.transport import PublisherEventCallbacks, SubscriptionEventCallbacks

MOST = 1000
KINDS = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)


def sensor(depth: int = 1) -> QoSProfile:
    """Camera streams in: only the newest messages, from any publisher."""
    return QoSProfile(
        reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=depth
    )


def reliable(depth: int = 5) -> QoSProfile:
    """Commands, results and everything published: none may be lost."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=depth
    )


def latched() -> QoSProfile:
    """What late subscribers still need: the last message is kept for them."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE,
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def overridable() -> QoSOverridingOptions:
    """Let the parameters `qos_overrides.<topic>` change everything but the bounds of queues."""
    return QoSOverridingOptions(policy_kinds=KINDS, callback=_check)


def _check(profile: QoSProfile) -> QosCallbackResult:
    result = QosCallbackResult()
    result.successful = profile.history == HistoryPolicy.KEEP_LAST and 1 <= profile.depth <= MOST
    if not result.successful:
        result.reason = (
            f'history must be keep_last and depth from 1 to {MOST}, so that no '
            f'queue grows without bounds'
        )
    return result


def create_publisher(
    node: LifecycleNode, message_type: type, topic: str, profile: QoSProfile | None = None
) -> LifecyclePublisher:
    """Create a publisher that works while the node is active.

    Raises:
        rclpy.exceptions.InvalidQosOverridesException: Its parameters `qos_overrides` are wrong.
    """
    name = node.resolve_topic_name(topic)
    events = PublisherEventCallbacks(
        incompatible_qos=_Warning(
            node,
            f'a subscriber to {name} asks for {{policy}} that this publisher does not offer, '
            f'and gets nothing; let it ask for less',
            f'qos_overrides.{name}.publisher',
        )
    )
    return node.create_lifecycle_publisher(
        message_type,
        topic,
        profile or reliable(),
        event_callbacks=events,
        qos_overriding_options=overridable(),
    )


def create_subscription(
    node: Node, message_type: type, topic: str, callback: Callable[[Any], None], profile: QoSProfile
) -> Subscription:
    """Create a subscription.

    Raises:
        rclpy.exceptions.InvalidQosOverridesException: Its parameters `qos_overrides` are wrong.
    """
    name = node.resolve_topic_name(topic)
    events = SubscriptionEventCallbacks(
        incompatible_qos=_Warning(
            node,
            f'a publisher on {name} does not offer the {{policy}} that this node asks for, and '
            f'nothing arrives from it; let it offer more',
            f'qos_overrides.{name}.subscription',
        )
    )
    return node.create_subscription(
        message_type,
        topic,
        callback,
        profile,
        event_callbacks=events,
        qos_overriding_options=overridable(),
    )


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
            remedy = f', or set {self._overrides}.{policy}' if kind in KINDS else ''
            self._node.get_logger().warning(self._text.format(policy=policy) + remedy)
