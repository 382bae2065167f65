"""Quality of service of every topic; always fresh profiles, because rclpy writes overrides in."""

from __future__ import annotations

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions


def sensor() -> QoSProfile:
    """Camera streams in: only the newest message, from any publisher."""
    return QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT,
                      history=HistoryPolicy.KEEP_LAST, depth=1)


def reliable(depth: int = 5) -> QoSProfile:
    """Commands, results and everything published: none may be lost."""
    return QoSProfile(reliability=ReliabilityPolicy.RELIABLE,
                      history=HistoryPolicy.KEEP_LAST, depth=depth)


def overridable() -> QoSOverridingOptions:
    """Let `qos_overrides.<topic>` parameters change history, depth and reliability."""
    return QoSOverridingOptions.with_default_policies()
