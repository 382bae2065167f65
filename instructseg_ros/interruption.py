"""Exit without a traceback when SIGINT arrives while a program of this package imports modules."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import Final

PACKAGE: Final = 'instructseg_ros'
PROGRAMS: Final = ('instructseg', 'segmentation_node', 'sim_camera')


def exit_quietly() -> None:
    """Let SIGINT end this process at once if it runs a program of this package.

    Imports take seconds, and a program cannot catch KeyboardInterrupt before they are done.
    """
    is_ours = _is_program(sys.argv[0] if getattr(sys, 'argv', None) else '', sys.orig_argv)
    if is_ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_again() -> None:
    """Let SIGINT raise KeyboardInterrupt again, in a program that catches it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_program(script: str, command: list[str]) -> bool:
    # While Python is still locating the module given by -m, sys.argv[0] is "-m".
    if script == '-m':
        return any(
            flag == '-m' and name.split('.')[0] == PACKAGE
            for flag, name in itertools.pairwise(command)
        )
    return os.path.basename(script) in PROGRAMS
