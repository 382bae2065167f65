"""Runs a node until it is asked to stop: signals, logging, spinning and shutdown."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import math
import os
import re
import signal
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Final

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from instructseg_ros.ros.parameters import describe_all, warn_of_files_for_others
from instructseg_ros.ros.transport import choose_transport
from instructseg_ros.streaming.instruction import describe_error

MAX_KINDS: Final = 64
# Matches numbers, object addresses, ids and quoted names, and keeps topics (group 1).
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


STOP_REQUESTED: Final = threading.Event()
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
MIN_REPEAT_TIME: Final = 0.5  # s; a terminal and a parent process may both pass on the same Ctrl-C
_INTERRUPTIBLE: Final = threading.Event()
NAMESAKE_PERIOD: Final = 2.0  # s
SPIN_TIMEOUT: Final = 0.1  # s
USAGE: Final = '%(prog)s [-h] [--ros-args [-p NAME:=VALUE] [--params-file FILE] [-r FROM:=TO] ...]'
EPILOG: Final = """\
Set parameters with --ros-args -p NAME:=VALUE, or in a file with --ros-args --params-file FILE;
"ros2 param set" changes them in a running node. Remap topics, the namespace and the node name with
--ros-args -r image:=camera/image -r __ns:=/robot -r __node:=eye.

{parameters}

docs/topics.md describes the topics and docs/parameters.md the parameters; both are in the source of
the package instructseg_ros.
"""


def init_ros(args: Sequence[str] | None = None, **options: Any) -> None:
    """Initialize rclpy with the package's transport, unless the user has chosen another.

    Args:
        args: Command-line arguments; None for those of this process.
        **options: Further arguments of `rclpy.init`.

    Raises:
        RuntimeError: The arguments are invalid, or no log folder is writable.
        FileNotFoundError: The package is installed without its transport profile.
    """
    choose_transport()
    try:
        rclpy.init(args=None if args is None else list(args), **options)
    except RuntimeError as error:
        if 'failed to initialize logging' not in str(error):
            raise
        raise RuntimeError(
            f'{error}; set ROS_LOG_DIR to a writable folder, or HOME to a home folder'
        ) from error


def spin_until(node: Node, condition: Callable[[], bool], timeout: float) -> bool:
    """Handle a node's messages until a condition holds; return whether it does.

    Args:
        node: The node, which no other thread spins.
        condition: Checked several times a second.
        timeout: Longest time to wait, s.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        rclpy.spin_once(node, timeout_sec=0.1)
    return True


class StopRequested(BaseException):
    """A signal asked the process to stop; long-running work is aborted.

    A BaseException like KeyboardInterrupt, so that a library that handles errors cannot swallow it.
    """


def check_stop() -> None:
    """Raise StopRequested if a signal asked the process to stop; call it between long steps."""
    if STOP_REQUESTED.is_set():
        raise StopRequested('the process was asked to stop')


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let a signal raise StopRequested anywhere within the block, also in library code.

    The block must run in the main thread, where Python delivers signals between native calls.
    """
    _INTERRUPTIBLE.set()
    try:
        check_stop()
        yield
    finally:
        _INTERRUPTIBLE.clear()
    check_stop()


def handle_signals() -> None:
    """Let SIGINT and SIGTERM set STOP_REQUESTED; a repeated signal ends the process.

    A thread receives them too, because Python runs handlers only when the main thread returns from
    native code, and native code may read a model for a minute.
    """
    STOP_REQUESTED.clear()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    for number in SIGNALS:
        signal.signal(number, _on_signal)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_restore_signals)
    threading.Thread(
        target=_read_signals, args=(reader, writer), name='signals', daemon=True
    ).start()


def _on_signal(number: int, frame: FrameType | None) -> None:
    STOP_REQUESTED.set()
    if _INTERRUPTIBLE.is_set():
        _INTERRUPTIBLE.clear()  # a second signal must not interrupt the cleanup after the first
        check_stop()


def _restore_signals() -> None:
    """Let signals end a forked child instead of reaching the thread of its parent."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def _read_signals(reader: socket.socket, writer: socket.socket) -> None:
    """Read signals forever, and exit on a repeated one; `writer` keeps the other end open."""
    first = math.inf
    while True:
        [number] = reader.recv(1)
        if number not in SIGNALS:  # the wake-up descriptor receives all signals with a handler
            continue
        STOP_REQUESTED.set()
        first = min(first, time.monotonic())
        if time.monotonic() - first > MIN_REPEAT_TIME:
            os._exit(128 + number)


class SteadyTimer:
    """Calls a function periodically by the steady clock, which simulated time does not affect."""

    def __init__(self, node: Node, period: float, callback: Callable[[], None]) -> None:
        """Start the timer.

        Args:
            node: Owner of the timer.
            period: Time between calls, s.
            callback: Called by the executor of the node.
        """
        self._node = node
        self._timer = node.create_timer(
            period, callback, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def destroy(self) -> None:
        """Stop the timer."""
        self._node.destroy_timer(self._timer)


class NamesakeWarning:
    """Warns when another node with the same full name appears in the ROS graph."""

    def __init__(self, node: Node) -> None:
        """Poll until `destroy`."""
        self._node = node
        self._others = 0
        self._timer = SteadyTimer(node, NAMESAKE_PERIOD, self._poll)

    def destroy(self) -> None:
        """Stop polling."""
        self._timer.destroy()

    def _poll(self) -> None:
        mine = (self._node.get_name(), self._node.get_namespace())
        others = self._node.get_node_names_and_namespaces().count(mine) - 1
        if others > self._others:
            self._node.get_logger().warning(
                f'another node with the name {self._node.get_fully_qualified_name()} is running: '
                'both offer the same services and publish the same topics. Stop one of them, or '
                'start it with another name or namespace: '
                '--ros-args -r __node:=NAME -r __ns:=/NAMESPACE'
            )
        self._others = others


def run_node(
    make_node: Callable[[], Node],
    *,
    name: str,
    about: str | None,
    table: type,
    args: Sequence[str] | None = None,
) -> int:
    """Run a node in one thread until SIGINT or SIGTERM; return the exit status.

    rclpy's own signal handlers are off: they would shut the context down at once, before
    `destroy_node` has published the last results.

    Args:
        make_node: Creates the node after ROS is initialized.
        name: Name of the program.
        about: Description of the program for `--help`.
        table: Dataclass of the node's parameters.
        args: Command-line arguments; None for those of this process.

    Raises:
        SystemExit: The arguments ask for help, or one is unknown.
    """
    handle_signals()
    arguments = sys.argv[1:] if args is None else args
    try:
        _read_arguments(name, about, table, arguments)
        init_ros(args, signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
    except (ParameterException, OSError, RuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    warn_of_files_for_others(node, arguments)
    warning = NamesakeWarning(node)
    _spin(node)
    warning.destroy()
    node.destroy_node()
    rclpy.try_shutdown()
    del node, warning
    # Reference cycles in rclpy keep the DDS participant and its 70 MB of shared memory alive.
    gc.collect()
    # Without this, the interpreter would traverse the modules of torch at exit, for seconds.
    gc.freeze()
    return 0


def _read_arguments(name: str, about: str | None, table: type, args: Sequence[str]) -> None:
    """Print help if asked for, and reject unknown arguments, which rclpy would ignore."""
    parser = argparse.ArgumentParser(
        prog=name,
        usage=USAGE,
        description=about,
        epilog=EPILOG.format(parameters=describe_all(table)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(remove_ros_args([name, *args])[1:])


def _spin(node: Node) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    log = ThrottledLog(lambda text: node.get_logger().error(text))
    while not STOP_REQUESTED.is_set() and node.context.ok():
        try:
            executor.spin_once(timeout_sec=SPIN_TIMEOUT)
        except Exception as error:
            log(
                f'a callback failed; the node keeps running: {type(error).__name__}: '
                f'{describe_error(error)}'
            )
    executor.remove_node(node)
    executor.shutdown()
