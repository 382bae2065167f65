"""SIGINT and SIGTERM: the first asks the process to stop, a second one ends it at once."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

#: Set once the process has been asked to stop.
REQUESTED: Final = threading.Event()
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
REPEAT: Final = 0.5  # s; a terminal and a parent process may both pass on one Ctrl-C
_INTERRUPTIBLE: Final = threading.Event()


class StopRequested(BaseException):
    """The process has been asked to stop, so that long work is given up.

    No Exception, as KeyboardInterrupt is none: a library that handles errors must not swallow it.
    """


def check() -> None:
    """Raise StopRequested if the process has been asked to stop; call it between long steps."""
    if REQUESTED.is_set():
        raise StopRequested('the process was asked to stop')


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let a signal raise StopRequested within the block, also from the middle of a library.

    The block runs in the main thread, which hears a signal between two native calls.
    """
    _INTERRUPTIBLE.set()
    try:
        check()
        yield
    finally:
        _INTERRUPTIBLE.clear()
    check()


def listen() -> None:
    """Begin to listen for the signals, in a thread.

    A handler in Python runs only when the main thread returns from native code, which reads a
    model for a minute; a thread hears a signal meanwhile.
    """
    REQUESTED.clear()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    for number in SIGNALS:
        signal.signal(number, _on_signal)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget)
    threading.Thread(target=_hear, args=(reader, writer), name='signals', daemon=True).start()


def _on_signal(number: int, frame: FrameType | None) -> None:
    REQUESTED.set()
    if _INTERRUPTIBLE.is_set():
        _INTERRUPTIBLE.clear()  # a second signal must not end the first one's cleaning up
        check()


def _forget() -> None:
    """Let signals end a forked child, instead of reaching the thread of its parent."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def _hear(reader: socket.socket, writer: socket.socket) -> None:
    """Read the numbers of signals; holds both ends, which are open as long as the process runs."""
    first = math.inf
    while True:
        [number] = reader.recv(1)
        if number not in SIGNALS:  # whose handler is somebody else's
            continue
        REQUESTED.set()
        first = min(first, time.monotonic())
        if time.monotonic() - first > REPEAT:
            os._exit(128 + number)
