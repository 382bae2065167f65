"""A process that holds a lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Forks a child that lives on, as data loaders do for a moment.
_HOLD = """
import os, sys, time
from pathlib import Path
from instructseg_ros.video.run_folder import locked

with locked(Path(sys.argv[1])):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(3600)
"""


@contextmanager
def lock_holder(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield a process that holds the lock of a folder, and the id of a process that it forked."""
    process = subprocess.Popen(
        [sys.executable, '-c', _HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        yield process, child
    finally:
        process.kill()
        process.wait()
        os.kill(child, signal.SIGKILL)
