"""What camera-sized messages need of the middleware and of the memory allocator."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3

#: Fast DDS reads the first on Kilted and later, the second up to Jazzy.
PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
CHOICE_VARIABLES = (*PROFILE_VARIABLES, 'FASTDDS_BUILTIN_TRANSPORTS')


def keep_image_memory() -> None:
    """Let glibc reuse the memory of image messages instead of mapping fresh pages for each.

    Does nothing where the C library has no `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return
    for option, size in ((M_MMAP_THRESHOLD, 256 << 20), (M_TRIM_THRESHOLD, 512 << 20),
                         (M_TOP_PAD, 64 << 20)):
        mallopt(option, size)


def profile_environment(
        profile: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that make Fast DDS carry images between processes.

    Args:
        profile: The Fast DDS profile with the large shared-memory segment.
        environment: Variables that are set already; those of this process by default.

    Returns:
        Variables to add; none when the user has chosen a profile or a transport.
    """
    environment = os.environ if environment is None else environment
    if any(environment.get(name) for name in CHOICE_VARIABLES):
        return {}
    return dict.fromkeys(PROFILE_VARIABLES, str(profile))
