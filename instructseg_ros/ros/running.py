"""Running one node until somebody stops it."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from instructseg_ros.ros.transport import choose_transport

WAKE_PERIOD = 0.1


def run_node(make_node: Callable[[], Node], *, args: Sequence[str] | None = None) -> int:
    """Run a node in one thread until SIGINT or SIGTERM; return the exit status.

    rclpy's own signal handlers would end the context at once, and the last results could not be
    published any more; these let `destroy_node` end everything first.
    """
    stopping = _stop_on_signals()
    try:
        choose_transport()
        rclpy.init(args=None if args is None else list(args),
                   signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
    except (ParameterException, OSError, RuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    _spin(node, stopping)
    node.destroy_node()
    rclpy.try_shutdown()
    del node
    # Cycles of rclpy hold the participant: its 70 MB of shared memory would stay behind.
    gc.collect()
    # At the interpreter's end the module graph of torch would be gone through again, for seconds.
    gc.freeze()
    return 0


def _spin(node: Node, stopping: threading.Event) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stopping.is_set() and node.context.ok():
        try:
            executor.spin_once(timeout_sec=WAKE_PERIOD)
        except Exception as error:
            node.get_logger().error(
                f'a callback failed, the node goes on: {type(error).__name__}: {error}',
                throttle_duration_sec=5.0)
    executor.remove_node(node)
    executor.shutdown()


def _stop_on_signals() -> threading.Event:
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return stopping
