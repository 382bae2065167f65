"""Logging of the node: throttled warnings, and the package's Python log records."""

from __future__ import annotations

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable

from rclpy.node import Node

KINDS_KEPT = 64
# Numbers, addresses of objects and ids, and names that people chose; but not names of topics.
VARIABLE = re.compile(r'((?<!\S)/\S*)|"[^"]*"|\w*\d\w*')


class ThrottledLog:
    """Passes a text on unless one like it was passed on lately, but for numbers, ids and names.

    Texts about different topics are not alike.
    """

    def __init__(
        self,
        log: Callable[[str], object],
        *,
        period: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Say each kind of text at most once in `period` seconds, by calling `log`."""
        self._log = log
        self._period = period
        self._clock = clock
        self._last: OrderedDict[str, float] = OrderedDict()

    def __call__(self, text: str) -> None:
        """Log the text, or leave it out."""
        kind, now = VARIABLE.sub(r'\g<1>0', text), self._clock()
        if now - self._last.get(kind, float('-inf')) < self._period:
            return
        self._last[kind] = now
        self._last.move_to_end(kind)
        while len(self._last) > KINDS_KEPT:
            self._last.popitem(last=False)
        self._log(text)


class PackageLog(logging.Handler):
    """Passes records of the layers below ROS to a node's log, where `--log-level` selects them.

    Tracebacks come at the level debug; errors that repeat are throttled.
    """

    def __init__(self, node: Node) -> None:
        """Begin to pass records on; `close` ends it."""
        super().__init__()
        log = node.get_logger()
        # rclpy wants one level for each line that logs.
        self._error = ThrottledLog(lambda text: log.error(text))
        self._warning = ThrottledLog(lambda text: log.warning(text))
        self._info = lambda text: log.info(text)
        self._debug = lambda text: log.debug(text)
        self._source = logging.getLogger('instructseg_ros')
        self._level = self._source.level
        self._source.setLevel(logging.DEBUG)
        self._source.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on; one that cannot be logged is reported on stderr."""
        try:
            self._write(record.levelno, self.format(record))
        except Exception:  # a line of a log may not end the thread that writes it
            self.handleError(record)

    def close(self) -> None:
        """Pass nothing on any more."""
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
