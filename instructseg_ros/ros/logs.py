"""Logging of the node: throttled messages, and the Python log records of the package."""

from __future__ import annotations

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from rclpy.node import Node

MAX_KINDS: Final = 64
# Matches numbers, object addresses, ids and quoted names, which vary, but not topics.
VARIABLE: Final = re.compile(r'((?<!\S)/\S*)|"[^"]*"|\w*\d\w*')


class ThrottledLog:
    """Logs a text unless a similar one was logged recently.

    Similar texts differ only in numbers, ids and quoted names, not in topics.
    """

    def __init__(
        self,
        log: Callable[[str], object],
        *,
        period: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Call `log` with similar texts at most once per `period` seconds."""
        self._log = log
        self._period = period
        self._clock = clock
        self._last: OrderedDict[str, float] = OrderedDict()

    def __call__(self, text: str) -> None:
        """Log the text, or drop it."""
        kind, now = VARIABLE.sub(r'\g<1>0', text), self._clock()
        if now - self._last.get(kind, float('-inf')) < self._period:
            return
        self._last[kind] = now
        self._last.move_to_end(kind)
        while len(self._last) > MAX_KINDS:
            self._last.popitem(last=False)
        self._log(text)


class PackageLog(logging.Handler):
    """Forwards Python log records of the package to the log of a node.

    Repeated errors and warnings are throttled; tracebacks have the level debug.
    """

    def __init__(self, node: Node) -> None:
        """Forward records until `close`."""
        super().__init__()
        log = node.get_logger()
        # rclpy requires a separate line of code for each level.
        self._error = ThrottledLog(lambda text: log.error(text))
        self._warning = ThrottledLog(lambda text: log.warning(text))
        self._info = lambda text: log.info(text)
        self._debug = lambda text: log.debug(text)
        self._source = logging.getLogger('instructseg_ros')
        self._level = self._source.level
        self._source.setLevel(logging.DEBUG)
        self._source.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Forward a record; report it on stderr if it cannot be logged."""
        try:
            self._write(record.levelno, self.format(record))
        except Exception:  # logging must not end the calling thread
            self.handleError(record)

    def close(self) -> None:
        """Stop forwarding."""
        self._source.removeHandler(self)
        self._source.setLevel(self._level)
        super().close()

    def _write(self, level: int, text: str) -> None:
        if level >= logging.ERROR:
            self._error(text)
        elif level >= logging.WARNING:
            self._warning(text)
        elif level >= logging.INFO:
            self._info(text)
        else:
            self._debug(text)
