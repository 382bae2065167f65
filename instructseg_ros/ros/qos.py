"""QoS profiles of all topics, and functions that create endpoints with QoS overrides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

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

from instructseg_ros.ros.parameters import warn_of_undeclared
from instructseg_ros.ros.transport import PublisherEventCallbacks, SubscriptionEventCallbacks

PREFIX: Final = 'qos_overrides.'
MAX_DEPTH: Final = 1000
OVERRIDABLE: Final = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)


def sensor(depth: int = 1) -> QoSProfile:
    """Return the profile of camera streams: only the newest messages, from any publisher."""
    return QoSProfile(
        reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=depth
    )


def reliable(depth: int = 5) -> QoSProfile:
    """Return the profile of commands and results, none of which may be lost."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=depth
    )


def latched() -> QoSProfile:
    """Return the profile of topics that send their last message to late subscribers too."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE,
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def overridable() -> QoSOverridingOptions:
    """Return options that let `qos_overrides.<topic>` change a profile, with bounded queues."""
    return QoSOverridingOptions(policy_kinds=OVERRIDABLE, callback=_check)


def _check(profile: QoSProfile) -> QosCallbackResult:
    result = QosCallbackResult()
    result.successful = (
        profile.history == HistoryPolicy.KEEP_LAST and 1 <= profile.depth <= MAX_DEPTH
    )
    if not result.successful:
        result.reason = (
            f'history must be keep_last and depth from 1 to {MAX_DEPTH}, so that no queue grows '
            f'without bounds'
        )
    return result


def warn_of_unknown_overrides(node: Node, further_subscriptions: Iterable[str]) -> None:
    """Warn of each QoS override given at startup for a topic that the node does not have.

    Args:
        node: A node that has created its topics.
        further_subscriptions: Resolved topics that it subscribes to only when needed.
    """
    policies = [qos_policy_name_from_kind(kind).lower() for kind in OVERRIDABLE]
    further = [
        f'{PREFIX}{topic}.subscription.{policy}'
        for topic in further_subscriptions
        for policy in policies
    ]
    given = [name for name in node._parameter_overrides if name.startswith(PREFIX)]
    declared = [name for name in node._parameters if name.startswith(PREFIX)]
    warn_of_undeclared(node, given, [*declared, *further])


def create_publisher(
    node: LifecycleNode, message_type: type, topic: str, profile: QoSProfile | None = None
) -> LifecyclePublisher:
    """Create a lifecycle publisher, which publishes while the node is active.

    Raises:
        rclpy.exceptions.InvalidQosOverridesException: A `qos_overrides` parameter is invalid.
    """
    name = node.resolve_topic_name(topic)
    events = PublisherEventCallbacks(
        incompatible_qos=_IncompatibleQosWarning(
            node,
            f'a subscriber to {name} requests a {{policy}} that this publisher does not offer, '
            f'and receives nothing; let it request less',
            f'{PREFIX}{name}.publisher',
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
        rclpy.exceptions.InvalidQosOverridesException: A `qos_overrides` parameter is invalid.
    """
    name = node.resolve_topic_name(topic)
    events = SubscriptionEventCallbacks(
        incompatible_qos=_IncompatibleQosWarning(
            node,
            f'a publisher on {name} does not offer the {{policy}} that this node requests, and '
            f'nothing arrives from it; let it offer more',
            f'{PREFIX}{name}.subscription',
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


class _IncompatibleQosWarning:
    """Warns once per incompatible policy, with the remedy."""

    def __init__(self, node: Node, text: str, overrides: str) -> None:
        self._node = node
        self._text = text
        self._overrides = overrides
        self._reported: set[str] = set()

    def __call__(self, event: Any) -> None:
        kind = event.last_policy_kind
        policy = qos_policy_name_from_kind(kind).lower()
        if policy not in self._reported:
            self._reported.add(policy)
            remedy = f', or set {self._overrides}.{policy}' if kind in OVERRIDABLE else ''
            self._node.get_logger().warning(self._text.format(policy=policy) + remedy)
