"""Python client of a segmentation node, for synchronous code and for asyncio."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import numpy as np
import rclpy
from rclpy.action import ActionClient
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from instructseg_ros.action import Find
from instructseg_ros.msg import Command
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import qos
from instructseg_ros.ros.event_loop import EventLoop
from instructseg_ros.ros.messages import (
    array_to_image,
    seconds_to_duration,
    segmentation_from_message,
)
from instructseg_ros.ros.node_runner import init_ros
from instructseg_ros.ros.transport import discovery_advice
from instructseg_ros.srv import Cancel, Segment
from instructseg_ros.streaming.instruction import describe_error, new_id
from instructseg_ros.streaming.segmentation import Segmentation, State

Listener = Callable[[Segmentation], object]
P = ParamSpec('P')
T = TypeVar('T')

GRACE: Final = 5.0  # s added to timeouts, for transport
POLL_PERIOD: Final = 0.02  # s between checks for the node


class NodeUnavailableError(TimeoutError):
    """No segmentation node responds; the message says what to check."""


def _blocking(
    method: Callable[Concatenate[SegmentationClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SegmentationClient, P], T]:
    """Return the synchronous version of a method, with the same signature and documentation."""

    @functools.wraps(method)
    def call(self: SegmentationClient, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.run(method(self, *args, **kwargs))

    call.__name__ = method.__name__.removesuffix('_async')
    call.__qualname__ = method.__qualname__.removesuffix('_async')
    return call


class SegmentationClient:
    """Client of one segmentation node; use it in a `with` statement.

    For example `with SegmentationClient() as client: mug = client.find('the mug', timeout=5.0)`;
    the result is then in `mug.found` and `mug.mask`.

    Each method has a version for asyncio whose name ends with `_async`; cancelling it cancels the
    request. The synchronous methods also work while an event loop is running, as in Jupyter. All
    raise NodeUnavailableError if the node does not respond in time.
    """

    def __init__(
        self,
        node: str = 'segmentation_node',
        *,
        namespace: str = '',
        discovery: float = 10.0,
        ros_args: Sequence[str] = (),
    ) -> None:
        """Join the ROS graph.

        Args:
            node: Name of the segmentation node.
            namespace: Namespace of that node.
            discovery: Longest time to wait for the node to be discovered, s.
            ros_args: ROS arguments such as `--ros-args -r command_request:=/request`.
        """
        self._is_closed = False
        self._discovery = discovery
        self._context = rclpy.Context()
        init_ros(ros_args, context=self._context)
        self._node = rclpy.create_node(
            'instructseg_client', namespace=namespace, context=self._context
        )
        self._finder: Any = ActionClient(self._node, Find, f'{node}/find')
        self._segmenter: Any = self._node.create_client(Segment, f'{node}/segment')
        self._canceller: Any = self._node.create_client(Cancel, f'{node}/cancel')
        self._enabler: Any = self._node.create_client(SetBool, f'{node}/enable')
        self._commands = self._node.create_publisher(Command, 'command_request', qos.reliable(10))
        self._listeners: dict[str, Listener] = {}
        self._node.create_subscription(
            SegmentationMessage, 'segmentation', self._on_result, qos.reliable(100)
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name='client', daemon=True)
        self._thread.start()
        self._loop = EventLoop()
        # Runs before the threads stop; ends the instructions of a script that forgets close().
        atexit.register(self.close)

    def __enter__(self) -> SegmentationClient:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End the instructions of synchronous calls and leave the ROS graph; idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        atexit.unregister(self.close)
        self._loop.close()
        if self._context.ok():  # destroying the publisher would lose pending commands
            self._commands.wait_for_all_acked(Duration(seconds=GRACE))
        self._executor.shutdown()
        self._thread.join()
        self._finder.destroy()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    async def find_async(
        self,
        text: str,
        *,
        timeout: float,
        task: int = Command.AUTO,
        cameras: Sequence[str] = (),
        on_result: Listener | None = None,
    ) -> Segmentation:
        """Search until the target is found or the time is over.

        Args:
            text: The instruction.
            timeout: Longest time of the search, s.
            task: `Command.AUTO`, `REFERRING` or `REASONING`.
            cameras: Names of the cameras; () for all.
            on_result: Called in the client's thread with each result before the last.

        Returns:
            The last result: FOUND, or the state and the reason why the search ended.
        """
        await self._until(self._finder.server_is_ready)
        goal = Find.Goal(
            command=Command(
                instruction=text,
                task=task,
                cameras=list(cameras),
                lifetime=seconds_to_duration(timeout),
            )
        )

        def on_feedback(message: Any) -> None:
            if on_result is not None:
                on_result(segmentation_from_message(message.feedback.segmentation))

        handle = await _within(
            self._finder.send_goal_async(goal, feedback_callback=on_feedback), GRACE
        )
        try:
            response = await _within(handle.get_result_async(), timeout + GRACE)
        except BaseException:
            handle.cancel_goal_async()
            raise
        return segmentation_from_message(response.result.segmentation)

    async def segment_async(
        self,
        text: str,
        image: np.ndarray | None = None,
        *,
        timeout: float = 30.0,
        task: int = Command.AUTO,
        camera: str = '',
    ) -> Segmentation:
        """Segment one image, or the newest image of a camera.

        Args:
            text: The instruction.
            image: (H, W, 3) uint8 RGB; None for the newest image of a camera.
            timeout: Longest time to wait, s.
            task: `Command.AUTO`, `REFERRING` or `REASONING`.
            camera: Name of the camera; '' for the first one of the node.
        """
        await self._until(self._segmenter.service_is_ready)
        request = Segment.Request(instruction=text, task=task, camera=camera)
        if image is not None:
            stamp = self._node.get_clock().now().to_msg()
            request.image = array_to_image(image, header=Header(stamp=stamp), encoding='rgb8')
        response = await _within(self._segmenter.call_async(request), timeout)
        return segmentation_from_message(response.segmentation)

    async def follow_async(
        self,
        text: str,
        *,
        timeout: float = 10.0,
        task: int = Command.AUTO,
        cameras: Sequence[str] = (),
        lifetime: float = 0.0,
    ) -> AsyncIterator[Segmentation]:
        """Yield the result on each image; closing the generator ends the instruction.

        Args:
            text: The instruction.
            timeout: Longest time to wait for each result, s.
            task: `Command.AUTO`, `REFERRING` or `REASONING`.
            cameras: Names of the cameras; () for all.
            lifetime: Lifetime of the instruction, s; 0: until the generator is closed.
        """
        await self._until(lambda: is_connected(self._node, self._commands))
        loop = asyncio.get_running_loop()
        results: asyncio.Queue[Segmentation] = asyncio.Queue()
        command = Command(
            id=new_id(),
            instruction=text,
            task=task,
            cameras=list(cameras),
            lifetime=seconds_to_duration(lifetime),
        )
        self._listeners[command.id] = lambda result: loop.call_soon_threadsafe(
            results.put_nowait, result
        )
        self._commands.publish(command)
        try:
            is_accepted = is_over = False
            while not is_over:
                result = await _within(results.get(), timeout)
                # After the first result, a rejection belongs to another command with this id.
                if is_accepted and result.state is State.REJECTED:
                    continue
                is_accepted, is_over = True, result.final
                yield result
        finally:
            del self._listeners[command.id]
            if not is_over:
                self._commands.publish(Command(id=command.id))

    async def cancel_async(self, id: str = '', *, timeout: float = 5.0) -> list[str]:
        """End the active instruction with this id, or all if it is ''; return the ended ids."""
        await self._until(self._canceller.service_is_ready)
        response = await _within(self._canceller.call_async(Cancel.Request(id=id)), timeout)
        return list(response.cancelled)

    async def enable_async(self, value: bool, *, timeout: float = 5.0) -> None:
        """Switch streaming on or off; `find` and `segment` always work."""
        await self._until(self._enabler.service_is_ready)
        await _within(self._enabler.call_async(SetBool.Request(data=value)), timeout)

    find = _blocking(find_async)
    segment = _blocking(segment_async)
    cancel = _blocking(cancel_async)
    enable = _blocking(enable_async)

    def follow(
        self,
        text: str,
        *,
        timeout: float = 10.0,
        task: int = Command.AUTO,
        cameras: Sequence[str] = (),
        lifetime: float = 0.0,
    ) -> Iterator[Segmentation]:
        """Yield results like `follow_async`; leaving the loop over them ends the instruction."""
        return self._loop.iterate(
            self.follow_async(text, timeout=timeout, task=task, cameras=cameras, lifetime=lifetime)
        )

    async def _until(self, is_ready: Callable[[], bool]) -> None:
        deadline = asyncio.get_running_loop().time() + self._discovery
        while not is_ready():
            if asyncio.get_running_loop().time() > deadline:
                raise NodeUnavailableError(
                    f'no segmentation node was discovered from namespace '
                    f'{self._node.get_namespace()} within {self._discovery:g} s; check that it '
                    f'is running, and its name, namespace and ROS_DOMAIN_ID{discovery_advice()}'
                )
            await asyncio.sleep(POLL_PERIOD)

    def _on_result(self, message: SegmentationMessage) -> None:
        listener = self._listeners.get(message.command_id)
        if listener is not None:
            listener(segmentation_from_message(message))

    def _spin(self) -> None:
        while True:
            try:
                self._executor.spin()
            except (ExternalShutdownException, ShutdownException):
                return
            except Exception as error:  # in a listener; later results must still arrive
                log = self._node.get_logger()
                log.debug(traceback.format_exc())
                log.error(
                    f'cannot process a result: {type(error).__name__}: {describe_error(error)}'
                )
            else:
                return


def is_connected(node: Node, commands: Publisher) -> bool:
    """Return whether a segmentation node receives the commands and publishes results."""
    return bool(commands.get_subscription_count() and node.count_publishers('segmentation'))


async def _within(work: Any, timeout: float) -> Any:
    """Wait for a coroutine or an rclpy future, and return its result.

    Raises:
        NodeUnavailableError: It took longer than `timeout` seconds.
    """
    awaited = work if asyncio.iscoroutine(work) else _asyncio_future(work)
    try:
        return await asyncio.wait_for(awaited, timeout)
    except asyncio.TimeoutError:
        raise NodeUnavailableError(
            f'the segmentation node did not respond within {timeout:g} s; see its log and '
            f'/diagnostics'
        ) from None


def _asyncio_future(future: Any) -> asyncio.Future[Any]:
    """Return a future of the running event loop that receives the result of an rclpy future."""
    loop = asyncio.get_running_loop()
    twin = loop.create_future()

    def set_result(done: Any) -> None:
        if not twin.done():
            twin.set_result(done.result())

    def on_done(done: Any) -> None:
        # RuntimeError: the loop is closed, and nothing waits for the result.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(set_result, done)

    future.add_done_callback(on_done)
    return twin
