"""Asking a segmentation node from Python, in plain calls or in asyncio."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final

import numpy as np
import rclpy
from rclpy.action import ActionClient
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
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
from instructseg_ros.ros.running import init_ros
from instructseg_ros.ros.transport import discovery_advice
from instructseg_ros.srv import Cancel, Segment
from instructseg_ros.streaming.instruction import Instruction, describe_error
from instructseg_ros.streaming.segmentation import Segmentation, State

Listener = Callable[[Segmentation], object]

GRACE: Final = 5.0  # s beyond the time given for an answer, for its way
POLL: Final = 0.02  # s between two looks for the node


class NodeUnavailableError(TimeoutError):
    """No segmentation node answers; the message says what to check."""


class SegmentationClient:
    """Talks to one node, in a thread of its own; use it in a `with` statement.

    For example `with SegmentationClient() as client: mug = client.find('the mug', timeout=5.0)`,
    and then `mug.found` and `mug.mask`.

    Every call has a twin that ends with `_async`, to be awaited in any event loop; cancelling that
    cancels what was asked for. Plain calls also work, and wait, where an event loop runs, as in
    Jupyter. All raise NodeUnavailableError where no node answers in time.
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
            namespace: Its namespace.
            discovery: Longest time to wait until the node is seen, s.
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
        # While its threads still run: they end what a script that just stops follows.
        atexit.register(self.close)

    def __enter__(self) -> SegmentationClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what plain calls follow, and leave the ROS graph; harmless when closed."""
        if self._is_closed:
            return
        self._is_closed = True
        atexit.unregister(self.close)
        self._loop.close()
        if self._context.ok():  # what ends an instruction would be lost with its publisher
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
        on_answer: Listener | None = None,
    ) -> Segmentation:
        """Look for something until it is found or the time is over.

        Args:
            text: What to look for.
            timeout: For how long, s.
            task: `Command.AUTO`, `REFERRING` or `REASONING`.
            cameras: Through which cameras; () for all.
            on_answer: Called with each answer before the last, from the thread of the client.

        Returns:
            FOUND, or the state and the reason of giving up.
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
            if on_answer is not None:
                on_answer(segmentation_from_message(message.feedback.segmentation))

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
        """Answer once, on an image or on the newest one of a camera.

        Args:
            text: What to segment.
            image: (H, W, 3) uint8 RGB; None: the newest one of a camera.
            timeout: Longest time to wait, s.
            task: `Command.AUTO`, `REFERRING` or `REASONING`.
            camera: Name of the camera; '': the node's first.
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
        """Yield the answer on each image; closing the generator ends the instruction.

        Args:
            text: What to follow.
            timeout: Longest time to wait for each answer, s.
            task: `Command.AUTO`, `REFERRING` or `REASONING`.
            cameras: Through which cameras; () for all.
            lifetime: For how long, s; 0: until the generator is closed.
        """
        await self._until(self._is_heard)
        loop = asyncio.get_running_loop()
        answers: asyncio.Queue[Segmentation] = asyncio.Queue()
        command = Command(
            id=Instruction(text='').id,
            instruction=text,
            task=task,
            cameras=list(cameras),
            lifetime=seconds_to_duration(lifetime),
        )
        self._listeners[command.id] = lambda result: loop.call_soon_threadsafe(
            answers.put_nowait, result
        )
        self._commands.publish(command)
        try:
            is_answered = is_over = False
            while not is_over:
                answer = await _within(answers.get(), timeout)
                # Once followed, only another command with this id can have been refused.
                if is_answered and answer.state is State.REJECTED:
                    continue
                is_answered, is_over = True, answer.final
                yield answer
        finally:
            del self._listeners[command.id]
            if not is_over:
                self._commands.publish(Command(id=command.id))

    async def cancel_async(self, id: str = '', *, timeout: float = 5.0) -> list[str]:
        """End the live instruction of that id, or all; return the ids ended."""
        await self._until(self._canceller.service_is_ready)
        response = await _within(self._canceller.call_async(Cancel.Request(id=id)), timeout)
        return list(response.cancelled)

    async def enable_async(self, value: bool, *, timeout: float = 5.0) -> None:
        """Switch streaming on or off; `find` and `segment` are answered all the same."""
        await self._until(self._enabler.service_is_ready)
        await _within(self._enabler.call_async(SetBool.Request(data=value)), timeout)

    def find(
        self,
        text: str,
        *,
        timeout: float,
        task: int = Command.AUTO,
        cameras: Sequence[str] = (),
        on_answer: Listener | None = None,
    ) -> Segmentation:
        """As `find_async`."""
        return self._loop.run(
            self.find_async(text, timeout=timeout, task=task, cameras=cameras, on_answer=on_answer)
        )

    def segment(
        self,
        text: str,
        image: np.ndarray | None = None,
        *,
        timeout: float = 30.0,
        task: int = Command.AUTO,
        camera: str = '',
    ) -> Segmentation:
        """As `segment_async`."""
        return self._loop.run(
            self.segment_async(text, image, timeout=timeout, task=task, camera=camera)
        )

    def follow(
        self,
        text: str,
        *,
        timeout: float = 10.0,
        task: int = Command.AUTO,
        cameras: Sequence[str] = (),
        lifetime: float = 0.0,
    ) -> Iterator[Segmentation]:
        """As `follow_async`; leaving the loop over it ends the instruction."""
        return self._loop.iterate(
            self.follow_async(text, timeout=timeout, task=task, cameras=cameras, lifetime=lifetime)
        )

    def cancel(self, id: str = '', *, timeout: float = 5.0) -> list[str]:
        """As `cancel_async`."""
        return self._loop.run(self.cancel_async(id, timeout=timeout))

    def enable(self, value: bool, *, timeout: float = 5.0) -> None:
        """As `enable_async`."""
        self._loop.run(self.enable_async(value, timeout=timeout))

    async def _until(self, is_ready: Callable[[], bool]) -> None:
        deadline = asyncio.get_running_loop().time() + self._discovery
        while not is_ready():
            if asyncio.get_running_loop().time() > deadline:
                raise NodeUnavailableError(
                    f'no segmentation node was seen from namespace '
                    f'{self._node.get_namespace()} within {self._discovery:g} s; check that it '
                    f'runs, its name, its namespace and ROS_DOMAIN_ID{discovery_advice()}'
                )
            await asyncio.sleep(POLL)

    def _is_heard(self) -> bool:
        return bool(
            self._commands.get_subscription_count() and self._node.count_publishers('segmentation')
        )

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
            except Exception as error:  # of a listener; the answers after it shall still come
                log = self._node.get_logger()
                log.debug(traceback.format_exc())
                log.error(
                    f'an answer could not be taken: {type(error).__name__}: {describe_error(error)}'
                )
            else:
                return


async def _within(work: Any, timeout: float) -> Any:
    """Wait for a future of rclpy or of asyncio, or a coroutine.

    Raises:
        NodeUnavailableError: It took longer than `timeout` seconds.
    """
    awaited = work if asyncio.iscoroutine(work) else _asyncio_future(work)
    try:
        return await asyncio.wait_for(awaited, timeout)
    except asyncio.TimeoutError:
        raise NodeUnavailableError(
            f'the segmentation node gave no answer within {timeout:g} s; see its log, and '
            f'/diagnostics'
        ) from None


def _asyncio_future(future: Any) -> asyncio.Future[Any]:
    """Return a future of the running event loop that gets the result of one of rclpy."""
    loop = asyncio.get_running_loop()
    twin = loop.create_future()

    def hand_over(done: Any) -> None:
        if not twin.done():
            twin.set_result(done.result())

    def on_done(done: Any) -> None:
        # The loop is closed where nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(hand_over, done)

    future.add_done_callback(on_done)
    return twin
