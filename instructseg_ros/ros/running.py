"""Starts a node, spins it until it is asked to stop, and shuts it down."""

from __future__ import annotations

import argparse
import contextlib
import gc
import math
import os
import signal
import socket
import sys
import threading
import time
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

from instructseg_ros.ros.logs import ThrottledLog
from instructseg_ros.ros.parameters import describe_all, warn_of_files_for_others
from instructseg_ros.ros.transport import choose_transport
from instructseg_ros.streaming.instruction import describe_error


def init_ros(args: Sequence[str] | None = None, **options: Any) -> None:
    """Initialise rclpy, with the package's transport unless the user has chosen one.

    Args:
        args: Arguments of the command line; None: those of this process.
        options: Further arguments of `rclpy.init`.

    Raises:
        RuntimeError: The arguments are wrong, or there is no folder for logs.
        FileNotFoundError: The package is installed without its transport profile.
    """
    choose_transport()
    try:
        rclpy.init(args=None if args is None else list(args), **options)
    except RuntimeError as error:
        if 'failed to initialize logging' not in str(error):
            raise
        raise RuntimeError(
            f'{error}; set ROS_LOG_DIR to a folder that can be written to, or HOME to a home folder'
        ) from error


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


class SteadyTimer:
    """Calls a function periodically by the steady clock."""

    def __init__(self, node: Node, period: float, callback: Callable[[], None]) -> None:
        """Begin; `destroy` ends it.

        Args:
            node: Owner of the timer.
            period: Time from one call to the next, s.
            callback: Is called by the executor of the node.
        """
        self._node = node
        self._timer = node.create_timer(
            period, callback, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def destroy(self) -> None:
        """Call it no more."""
        self._node.destroy_timer(self._timer)


PERIOD: Final = 2.0  # s


class NamesakeWarning:
    """Warns each time another node appears that has the full name of this one.

    Both would answer the same services and publish the same topics.
    """

    def __init__(self, node: Node) -> None:
        """Begin to look at the names in the ROS graph."""
        self._node = node
        self._others = 0
        self._timer = SteadyTimer(node, PERIOD, self._look)

    def destroy(self) -> None:
        """Stop looking."""
        self._timer.destroy()

    def _look(self) -> None:
        mine = (self._node.get_name(), self._node.get_namespace())
        others = self._node.get_node_names_and_namespaces().count(mine) - 1
        if others > self._others:
            self._node.get_logger().warning(
                f'another node with the name {self._node.get_fully_qualified_name()} runs: both '
                'answer the same services and publish the same topics. Stop one of them, or start '
                'it with another name or namespace: '
                '--ros-args -r __node:=NAME -r __ns:=/NAMESPACE'
            )
        self._others = others


WAKE_PERIOD = 0.1
USAGE = '%(prog)s [-h] [--ros-args [-p NAME:=VALUE] [--params-file FILE] [-r FROM:=TO] ...]'
EPILOG = """\
Parameters are set with --ros-args -p NAME:=VALUE, or in a file with --ros-args --params-file FILE;
"ros2 param set" changes them in a running node. Topics, the namespace and the name of the node are
set with --ros-args -r image:=camera/image -r __ns:=/robot -r __node:=eye.

{parameters}

README.md describes the topics and docs/parameters.md the parameters, both in the source of the
package instructseg_ros.
"""


def run_node(
    make_node: Callable[[], Node],
    *,
    name: str,
    about: str | None,
    table: type,
    args: Sequence[str] | None = None,
) -> int:
    """Run a node in one thread until SIGINT or SIGTERM; return the exit status.

    rclpy's own signal handlers would end the context at once, and the last results could not be
    published any more; without them `destroy_node` ends everything first.

    Args:
        make_node: Makes the node once ROS has started.
        name: Name of the program.
        about: The program's description for `--help`.
        table: The node's parameters.
        args: Arguments of the command line; None: those of this process.

    Raises:
        SystemExit: Help was asked for, or an argument is unknown.
    """
    listen()
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
    # Cycles of rclpy hold the participant: its 70 MB of shared memory would stay behind.
    gc.collect()
    # At the interpreter's end the module graph of torch would be gone through again, for seconds.
    gc.freeze()
    return 0


def _read_arguments(name: str, about: str | None, table: type, args: Sequence[str]) -> None:
    """Print help where it is asked for; refuse what would have no effect."""
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
    while not REQUESTED.is_set() and node.context.ok():
        try:
            executor.spin_once(timeout_sec=WAKE_PERIOD)
        except Exception as error:
            log(
                f'a callback failed; the node keeps running: {type(error).__name__}: '
                f'{describe_error(error)}'
            )
    executor.remove_node(node)
    executor.shutdown()
