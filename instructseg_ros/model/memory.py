"""How much memory this process has, and how it keeps what it frees."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

# Names of malloc.h.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3
_C = ctypes.CDLL(None)


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of images and tensors instead of mapping fresh pages for each.

    Page faults are most of the cost of a 1080p message, and half of a training step on a CPU.
    Does nothing where the C library has no `mallopt`.
    """
    mallopt = getattr(_C, 'mallopt', None)
    if mallopt is None:
        return
    for option, size in (
        (M_MMAP_THRESHOLD, 256 << 20),
        (M_TRIM_THRESHOLD, 1 << 30),
        (M_TOP_PAD, 64 << 20),
    ):
        mallopt(option, size)


def release_freed_memory() -> None:
    """Give the system back what `keep_freed_memory` kept; takes some milliseconds.

    Does nothing where the C library has no `malloc_trim`.
    """
    trim = getattr(_C, 'malloc_trim', None)
    if trim is not None:
        trim(0)


def resident_memory() -> int:
    """Bytes of the process that are in memory now; 0 where the system does not tell."""
    try:
        return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
