"""Running one node until somebody stops it."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from instructseg_ros.ros import stopping
from instructseg_ros.ros.namesakes import NamesakeWarning
from instructseg_ros.ros.parameters import describe_all, warn_of_files_for_others
from instructseg_ros.ros.starting import init_ros
from instructseg_ros.ros.throttled_log import ThrottledLog
from instructseg_ros.streaming.quoting import describe_error

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


def run_node(make_node: Callable[[], Node], *, name: str, about: str | None, table: type,
             args: Sequence[str] | None = None) -> int:
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
    stopping.listen()
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
        prog=name, usage=USAGE, description=about,
        epilog=EPILOG.format(parameters=describe_all(table)),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(remove_ros_args([name, *args])[1:])


def _spin(node: Node) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    log = ThrottledLog(lambda text: node.get_logger().error(text))
    while not stopping.REQUESTED.is_set() and node.context.ok():
        try:
            executor.spin_once(timeout_sec=WAKE_PERIOD)
        except Exception as error:
            log(f'a callback failed; the node keeps running: {type(error).__name__}: '
                f'{describe_error(error)}')
    executor.remove_node(node)
    executor.shutdown()
