"""What camera-sized messages need of the middleware."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

#: Where Fast DDS looks for a profile, from Kilted on and up to Jazzy.
PROFILE_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'
OLD_PROFILE_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
CHOICE_VARIABLES = (PROFILE_VARIABLE, OLD_PROFILE_VARIABLE, 'FASTDDS_BUILTIN_TRANSPORTS')
JAZZY_RCLPY = 7


def profile_environment(
        profile: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
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
    rclpy_major = int(version('rclpy').split('.')[0])
    name = PROFILE_VARIABLE if rclpy_major > JAZZY_RCLPY else OLD_PROFILE_VARIABLE
    return {name: str(profile)}
