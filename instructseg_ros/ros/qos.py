"""Quality of service of every topic; always fresh profiles, because rclpy writes overrides in."""

from __future__ import annotations

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QosCallbackResult, QoSOverridingOptions

MOST = 1000
KINDS = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY,
         QoSPolicyKind.DURABILITY)


def sensor(depth: int = 1) -> QoSProfile:
    """Camera streams in: only the newest messages, from any publisher."""
    return QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT,
                      history=HistoryPolicy.KEEP_LAST, depth=depth)


def reliable(depth: int = 5) -> QoSProfile:
    """Commands, results and everything published: none may be lost."""
    return QoSProfile(reliability=ReliabilityPolicy.RELIABLE,
                      history=HistoryPolicy.KEEP_LAST, depth=depth)


def latched() -> QoSProfile:
    """What late subscribers still need: the last message is kept for them."""
    return QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST,
                      depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def overridable() -> QoSOverridingOptions:
    """Let the parameters `qos_overrides.<topic>` change everything but the bounds of queues."""
    return QoSOverridingOptions(policy_kinds=KINDS, callback=_check)


def _check(profile: QoSProfile) -> QosCallbackResult:
    result = QosCallbackResult()
    result.successful = (profile.history == HistoryPolicy.KEEP_LAST
                         and 1 <= profile.depth <= MOST)
    if not result.successful:
        result.reason = (f'history must be keep_last and depth from 1 to {MOST}, so that no '
                         f'queue grows without bounds')
    return result
