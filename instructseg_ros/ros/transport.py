"""What camera-sized messages need of the middleware."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from instructseg_ros.ros.distribution import fast_dds_variable
from instructseg_ros.ros.share import share_folder

CHOICE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE',
                    'FASTDDS_BUILTIN_TRANSPORTS')


def choose_transport() -> None:
    """Set the profile for this process and those it starts, unless the user has chosen.

    Fast DDS reads it when the first node of a process is made, so call it before.

    Raises:
        FileNotFoundError: The package is installed without the profile.
    """
    os.environ.update(profile_environment(share_folder() / 'config' / 'fastdds.xml'))


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
    return {fast_dds_variable(): str(profile)}
