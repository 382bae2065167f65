"""Forward the package's Python logging to the log of a node."""

from __future__ import annotations

import logging

from rclpy.node import Node

from instructseg_ros.ros.throttled_log import ThrottledLog


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
