"""SIGINT and SIGTERM: the first asks the process to stop, a second one ends it at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from typing import Final

#: Set once the process has been asked to stop.
REQUESTED: Final = threading.Event()
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
REPEAT: Final = 0.5  # s; a terminal and a parent process may both pass on one Ctrl-C


class StopRequested(Exception):  # noqa: N818
    """The process has been asked to stop, so that long work is given up."""


def check() -> None:
    """Raise StopRequested if the process has been asked to stop; call it between long steps."""
    if REQUESTED.is_set():
        raise StopRequested('the process was asked to stop')


def listen() -> None:
    """Begin to listen for the signals, in a thread.

    A handler in Python runs only when the main thread returns from native code, which reads a
    model for a minute; a thread hears a signal meanwhile.
    """
    REQUESTED.clear()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: None)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_hear, args=(reader, writer), name='signals', daemon=True).start()


def _hear(reader: socket.socket, writer: socket.socket) -> None:
    """Read the numbers of signals; holds both ends, which are open as long as the process runs."""
    reader.recv(1)
    first = time.monotonic()
    REQUESTED.set()
    while True:
        [number] = reader.recv(1)
        if time.monotonic() - first > REPEAT:
            os._exit(128 + number)
