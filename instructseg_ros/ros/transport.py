"""Middleware settings for image-sized messages, and differences between ROS distributions."""

from __future__ import annotations

import os
import random
import site
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = ['PublisherEventCallbacks', 'SubscriptionEventCallbacks']

PACKAGE: Final = 'instructseg_ros'
HUMBLE_RCLPY, JAZZY_RCLPY = 3, 7  # major versions
DOMAINS: Final = range(1, 101)
CHOICE_VARIABLES: Final = (
    'FASTDDS_DEFAULT_PROFILES_FILE',
    'FASTRTPS_DEFAULT_PROFILES_FILE',
    'FASTDDS_BUILTIN_TRANSPORTS',
)


def share_folder() -> Path:
    """Return the folder with `config/` and `launch/`, of a checkout or of an installation.

    Raises:
        FileNotFoundError: The package is installed without them.
    """
    checkout = Path(__file__).resolve().parents[2]
    # Packages that Debian's pip installs for all users are outside sys.prefix.
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


def choose_transport() -> None:
    """Set the Fast DDS profile for this process and its children, unless the user has chosen one.

    Fast DDS reads the profile when a process creates its first node; call this before.

    Raises:
        FileNotFoundError: The package is installed without the profile.
    """
    os.environ.update(profile_environment())


def choose_environment() -> None:
    """Set the transport and a random ROS domain on this machine, unless the user has chosen one."""
    choose_transport()
    if 'ROS_DOMAIN_ID' not in os.environ:
        os.environ['ROS_DOMAIN_ID'] = str(random.choice(DOMAINS))
        os.environ.setdefault(*localhost_setting())


def profile_environment() -> dict[str, str]:
    """Return the environment variable that lets Fast DDS carry images between processes.

    Returns:
        The variable and its value; {} if the user has chosen a profile or a transport.

    Raises:
        FileNotFoundError: The package is installed without the profile.
    """
    if any(os.environ.get(name) for name in CHOICE_VARIABLES):
        return {}
    return {fast_dds_variable(): str(share_folder() / 'config' / 'fastdds.xml')}


def fast_dds_variable() -> str:
    """Return the name of the environment variable for the Fast DDS profile."""
    is_newer = _major_version() > JAZZY_RCLPY
    return 'FASTDDS_DEFAULT_PROFILES_FILE' if is_newer else 'FASTRTPS_DEFAULT_PROFILES_FILE'


def localhost_setting() -> tuple[str, str]:
    """Return the environment variable, and its value, that limit discovery to this machine."""
    if _major_version() > HUMBLE_RCLPY:
        return 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST'
    return 'ROS_LOCALHOST_ONLY', '1'


def discovery_advice() -> str:
    """Return a remedy for networks without multicast; '' if it is applied already."""
    name, value = localhost_setting()
    if os.environ.get(name) == value:
        return ''
    return (
        f'. DDS discovery needs multicast; without it, set {name}={value} for every process on '
        'this machine'
    )


def detach_from_clock(buffer: Any) -> None:
    """Detach a tf2_ros.Buffer from the clock of its node, which it observes from Jazzy on."""
    if hasattr(buffer, 'jump_handle'):
        buffer.jump_handle.unregister()


def _major_version() -> int:
    return int(version('rclpy').split('.')[0])
