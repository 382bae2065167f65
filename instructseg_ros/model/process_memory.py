"""Memory of this process: its resident size, and keeping or returning freed memory.

Does not import torch, so that the node and the transport tests start without it.
"""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

# Constants of malloc.h.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3
_C = ctypes.CDLL(None)


def keep_freed_memory() -> None:
    """Let glibc reuse the freed memory of images and tensors instead of mapping new pages.

    Page faults make up most of the cost of a 1080p message, and half of a training step on a CPU.
    Does nothing if the C library has no `mallopt`.
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
    """Give back to the system what `keep_freed_memory` retained; takes milliseconds.

    Does nothing if the C library has no `malloc_trim`.
    """
    trim = getattr(_C, 'malloc_trim', None)
    if trim is not None:
        trim(0)


def resident_memory() -> int:
    """Return the resident size of this process in bytes; 0 if the system does not report it."""
    try:
        return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
