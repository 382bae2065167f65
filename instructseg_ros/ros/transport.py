"""Middleware settings for camera-sized messages, and differences between distributions."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGE = 'instructseg_ros'


def share_folder() -> Path:
    """Return the folder that holds `config/` and `launch/`: a checkout's or the installed one.

    Raises:
        FileNotFoundError: The package is installed without them.
    """
    checkout = Path(__file__).resolve().parents[2]
    # Debian installs for all users outside of sys.prefix.
    prefixes = (sys.prefix, sysconfig.get_path('data'), site.getuserbase())
    installed = (Path(prefix) / 'share' / PACKAGE for prefix in prefixes)
    for folder in (checkout, *_ament_folders(), *installed):
        if (folder / 'config' / 'fastdds.xml').is_file():
            return folder
    raise FileNotFoundError(
        f'config/fastdds.xml of {PACKAGE} was not found next to the package, in the ament index '
        f'or in share/ of {", ".join(dict.fromkeys(prefixes))}; install the package again'
    )


def _ament_folders() -> list[Path]:
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        return [Path(get_package_share_directory(PACKAGE))]
    except (PackageNotFoundError, OSError):
        return []


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


__all__ = [
    'PublisherEventCallbacks',
    'SubscriptionEventCallbacks',
    'fast_dds_variable',
    'forget_jumps',
    'localhost_setting',
]


CHOICE_VARIABLES = (
    'FASTDDS_DEFAULT_PROFILES_FILE',
    'FASTRTPS_DEFAULT_PROFILES_FILE',
    'FASTDDS_BUILTIN_TRANSPORTS',
)


def choose_transport() -> None:
    """Set the profile for this process and those it starts, unless the user has chosen.

    Fast DDS reads it when the first node of a process is made, so call it before.

    Raises:
        FileNotFoundError: The package is installed without the profile.
    """
    os.environ.update(profile_environment(share_folder() / 'config' / 'fastdds.xml'))


def profile_environment(
    profile: Path, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the variable that makes Fast DDS carry images between processes.

    Args:
        profile: The Fast DDS profile with the large shared-memory segment.
        environment: Variables that are set already; those of this process by default.

    Returns:
        Variable to set; none when the user has chosen a profile or a transport.
    """
    environment = os.environ if environment is None else environment
    if any(environment.get(name) for name in CHOICE_VARIABLES):
        return {}
    return {fast_dds_variable(): str(profile)}


def discovery_advice() -> str:
    """Return a remedy for networks without multicast, or '' where it is in use already."""
    name, value = localhost_setting()
    if os.environ.get(name) == value:
        return ''
    return (
        f'. DDS discovery needs multicast; without it, set {name}={value} for every process on '
        'this machine'
    )
