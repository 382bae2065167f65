from __future__ import annotations

import subprocess
import sys

KEEP = """
import resource
import numpy as np
from instructseg_ros.model.process_memory import keep_freed_memory

keep_freed_memory()
np.ones(64 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(64 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


GIVE_BACK = """
import numpy as np
from instructseg_ros.model.process_memory import (
    keep_freed_memory, release_freed_memory, resident_memory
)

keep_freed_memory()
np.ones(64 << 20, np.uint8)
kept = resident_memory()
release_freed_memory()
print(kept - resident_memory())
"""


def run(script: str) -> int:
    """Output of a script in a process with a fresh allocator."""
    command = [sys.executable, '-c', script]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_an_array_as_large_as_one_that_was_freed_costs_no_fresh_pages() -> None:
    # Mapped anew, it would cost 32 faults even with pages of 2 MB.
    assert run(KEEP) < 16


def test_kept_memory_can_be_returned_to_the_system() -> None:
    assert run(GIVE_BACK) > 60 << 20
