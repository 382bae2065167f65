"""What differs from one ROS 2 distribution to another, from Humble to Kilted."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

HUMBLE_RCLPY = 3
JAZZY_RCLPY = 7


def fast_dds_variable() -> str:
    """Return the environment variable in which Fast DDS looks for a profile."""
    is_newer = _major_version() > JAZZY_RCLPY
    return 'FASTDDS_DEFAULT_PROFILES_FILE' if is_newer else 'FASTRTPS_DEFAULT_PROFILES_FILE'


def localhost_setting() -> tuple[str, str]:
    """Return the environment variable, and its value, that keep discovery on this machine."""
    if _major_version() > HUMBLE_RCLPY:
        return 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST'
    return 'ROS_LOCALHOST_ONLY', '1'


def _major_version() -> int:
    return int(version('rclpy').split('.')[0])


def forget_jumps(buffer: Any) -> None:
    """Let the clock of a node go from a tf2_ros.Buffer, which listens for jumps since Jazzy."""
    if hasattr(buffer, 'jump_handle'):
        buffer.jump_handle.unregister()


__all__ = ['PublisherEventCallbacks', 'SubscriptionEventCallbacks', 'fast_dds_variable',
           'forget_jumps', 'localhost_setting']
