from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import resource
import numpy as np
from instructseg_ros.memory import keep_freed_memory

keep_freed_memory()
np.ones(64 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(64 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_an_array_as_large_as_one_that_was_freed_costs_no_fresh_pages() -> None:
    command = [sys.executable, '-c', SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # Mapped anew, it would cost 32 faults even with pages of 2 MB.
    assert int(done.stdout) < 16
