"""Services and the action, which submit an instruction and wait for its results."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Final

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool

from instructseg_ros.action import Find
from instructseg_ros.msg import Command
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import qos
from instructseg_ros.ros.messages import (
    ConversionError,
    image_to_rgb,
    instruction_from_command,
    rejection,
    segmentation_to_message,
    stamp_to_nanoseconds,
)
from instructseg_ros.srv import Cancel, Segment
from instructseg_ros.streaming.active_instruction import SuspendedInstruction
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import (
    Instruction,
    InstructionError,
    Until,
    describe_error,
    new_id,
    quote,
)
from instructseg_ros.streaming.segmentation import Segmentation, State

Listener = Callable[[Segmentation], object]

RESULT_TIMEOUT: Final = 30  # s for which an action result, with its mask, is kept (rclpy: 15 min)
SERVICE_DEPTH: Final = 100  # queued requests; rclpy's 10 would silently lose the rest of a burst


class RequestBroker:
    """Submits requests to the engine while the node is active, and returns their results.

    Attributes:
        cameras: Names of the cameras.
        callback_group: Group of the services and actions that wait for results; kept separate so
            that they cannot block image callbacks.
        suspended: Instructions that the node kept when it was deactivated.
    """

    def __init__(self, node: Node) -> None:
        """Start without an engine: requests are rejected until `open`.

        Args:
            node: Owner of the parameters that commands are checked against.
        """
        self._node = node
        self._engine: Engine | None = None
        self._why_closed = 'the node is not configured'
        self.cameras: Sequence[str] = ('',)
        self.suspended: Sequence[SuspendedInstruction] = ()
        self.callback_group = ReentrantCallbackGroup()
        # Keyed by identity: two instructions can have one id until the engine rejects the second.
        self._listeners: dict[int, tuple[Instruction, Command, Listener]] = {}
        self._lock = threading.Lock()

    @property
    def why_closed(self) -> str:
        """Reason why requests are rejected; empty while the node is active."""
        return '' if self._engine else self._why_closed

    @property
    def engine(self) -> Engine:
        """The engine.

        Raises:
            InstructionError: The node is not active; the message says why and how to fix it.
        """
        if self._engine is None:
            name = self._node.get_fully_qualified_name()
            raise InstructionError(
                f'{self._why_closed}; check "ros2 lifecycle get {name}" and activate the node '
                f'with "ros2 lifecycle set {name} configure" and "activate"'
            )
        return self._engine

    def open(self, engine: Engine, cameras: Sequence[str]) -> None:
        """Accept requests from now on."""
        self._engine = engine
        self.cameras = cameras

    def close(self, reason: str) -> None:
        """Reject requests from now on; those that wait are ended when the engine stops."""
        self._engine = None
        self._why_closed = reason

    def take_suspended(self) -> Sequence[SuspendedInstruction]:
        """Return the suspended instructions and forget them."""
        suspended, self.suspended = self.suspended, ()
        return suspended

    def cancel(self, id: str) -> list[str]:
        """End the active instruction with this id, or all if it is ''; return the ended ids.

        While the node is not active, its suspended instructions end, without a final result.

        Raises:
            InstructionError: The node is not active, and no such instruction is suspended.
        """
        ended = [each for each in self.suspended if id in ('', each.instruction.id)]
        if self._engine is not None or not ended:
            return self.engine.cancel(id)
        self.suspended = [each for each in self.suspended if each not in ended]
        return [each.instruction.id for each in ended]

    async def submit(
        self,
        command: Command,
        *,
        until: Until,
        image: Image | None = None,
        on_result: Listener = lambda result: None,
    ) -> Segmentation:
        """Submit a command to the engine and wait for its final result.

        Args:
            command: The instruction and its options.
            until: Condition that ends the instruction.
            image: Image to segment; None for the cameras' images.
            on_result: Called in the engine's thread with each result before the final one.

        Raises:
            InstructionError: The command is invalid, or the node is not active.
            ConversionError: The image is unreadable.
        """
        engine = self.engine
        instruction = instruction_from_command(
            command,
            cameras=self.cameras,
            until=until,
            max_length=self._node.get_parameter('max_text_length').value,
        )
        pixels = None if image is None else image_to_rgb(image)
        future = self._expect(instruction, command, on_result)
        try:
            if image is None or pixels is None:
                engine.give(instruction)
            else:
                engine.ask(
                    instruction,
                    pixels,
                    header=image.header,
                    stamp=stamp_to_nanoseconds(image.header.stamp),
                )
        except InstructionError:
            self._listeners.pop(id(instruction), None)
            raise
        final = await future
        assert final is not None
        return final

    def withdraw(self, command: Command) -> None:
        """Cancel the instruction submitted with this Command object.

        An instruction of another program with the same id stays active.
        """
        engine = self._engine
        if engine is None:  # every instruction has ended
            return
        with self._lock:
            given = [
                each for each, its_command, _ in self._listeners.values() if its_command is command
            ]
        for instruction in given:
            engine.withdraw(instruction)

    def dispatch(self, results: Sequence[Segmentation]) -> None:
        """Pass results to the requests that wait for them; thread-safe."""
        for result in results:
            key = id(result.instruction)
            with self._lock:
                *_, listener = self._listeners.get(key, (None,))
                if result.final:
                    self._listeners.pop(key, None)
            if listener is not None:
                self._call(listener, result)

    def _call(self, listener: Listener, result: Segmentation) -> None:
        try:
            listener(result)
        except Exception as error:
            self._node.get_logger().error(
                f'cannot deliver a result: {type(error).__name__}: {describe_error(error)}'
            )

    def _expect(
        self, instruction: Instruction, command: Command, on_result: Listener
    ) -> Future[Segmentation]:
        future: Future[Segmentation] = Future(executor=self._node.executor)
        # With a callback, setting the result from another thread wakes the executor.
        future.add_done_callback(lambda _: None)

        def on_any_result(result: Segmentation) -> None:
            if result.final:
                future.set_result(result)
            else:
                on_result(result)

        with self._lock:
            self._listeners[id(instruction)] = (instruction, command, on_any_result)
        return future


class FindAction:
    """The action `~/find`: one instruction per goal, whose results also go to the topics."""

    def __init__(self, node: Node, broker: RequestBroker) -> None:
        """Create the action server.

        Args:
            node: Owner of the action server.
            broker: Submits the goals.
        """
        self._node = node
        self._broker = broker
        self._server = ActionServer(
            node,
            Find,
            '~/find',
            execute_callback=self._find,
            goal_callback=self._accept,
            cancel_callback=self._cancel,
            result_timeout=RESULT_TIMEOUT,
            callback_group=broker.callback_group,
        )

    def destroy(self) -> None:
        """Remove the action server."""
        self._server.destroy()

    def _accept(self, goal: Find.Goal) -> GoalResponse:
        """Accept every goal, because only a result can contain the reason for a rejection."""
        goal.command.id = goal.command.id or new_id()
        return GoalResponse.ACCEPT

    async def _find(self, goal: ServerGoalHandle) -> Find.Result:
        command = goal.request.command

        def publish_feedback(result: Segmentation) -> None:
            goal.publish_feedback(Find.Feedback(segmentation=_to_message(self._node, result)))

        try:
            if goal.is_cancel_requested:
                raise InstructionError('cancelled before the search began')
            result = await self._broker.submit(
                command, until=Until.FOUND, on_result=publish_feedback
            )
        except InstructionError as error:
            result = rejection(command.instruction, str(error), id=command.id)
        _finish(goal, result.state)
        return Find.Result(segmentation=_to_message(self._node, result))

    def _cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        self._broker.withdraw(goal.request.command)
        return CancelResponse.ACCEPT


def _to_message(node: Node, result: Segmentation) -> SegmentationMessage:
    return segmentation_to_message(result, now=node.get_clock().now().to_msg())


def _finish(goal: ServerGoalHandle, state: State) -> None:
    if goal.is_cancel_requested:
        goal.canceled()
    elif state is State.FOUND:
        goal.succeed()
    else:
        goal.abort()


class Services:
    """The services `~/segment`, `~/cancel` and `~/enable`; they exist in every lifecycle state."""

    def __init__(self, node: Node, broker: RequestBroker, *, enable: Callable[[bool], str]) -> None:
        """Create the services.

        Args:
            node: Owner of the services.
            broker: Submits the requests.
            enable: Switches streaming on or off and returns a description of the new state.
        """
        self._node = node
        self._broker = broker
        self._enable_streaming = enable
        for service_type, name, callback in (
            (Segment, '~/segment', self._segment),
            (Cancel, '~/cancel', self._cancel),
            (SetBool, '~/enable', self._enable),
        ):
            node.create_service(
                service_type,
                name,
                callback,
                qos_profile=qos.reliable(SERVICE_DEPTH),
                callback_group=broker.callback_group,
            )

    async def _segment(
        self, request: Segment.Request, response: Segment.Response
    ) -> Segment.Response:
        """Segment the image in the request, or the newest image of a camera."""
        image = request.image
        has_image = bool(image.width or image.height or image.data)
        command = Command(
            instruction=request.instruction,
            task=request.task,
            cameras=[] if has_image else [request.camera or self._broker.cameras[0]],
        )
        try:
            result = await self._broker.submit(
                command, until=Until.ANSWERED, image=image if has_image else None
            )
        except (InstructionError, ConversionError) as error:
            result = rejection(request.instruction, str(error))
        response.segmentation = _to_message(self._node, result)
        return response

    def _cancel(self, request: Cancel.Request, response: Cancel.Response) -> Cancel.Response:
        try:
            response.cancelled = self._broker.cancel(request.id)
        except InstructionError as error:
            response.reason = str(error)
            return response
        if not response.cancelled:
            active = ', '.join(each.id for each in self._broker.engine.active())
            response.reason = (
                f'no instruction {quote(request.id)} is active; active are {active}'
                if active
                else 'nothing to cancel: no instruction is active'
            )
        return response

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.message = self._enable_streaming(request.data)
        response.success = True
        return response


class FailureReporter:
    """Answers every command with FAILED and the reason why the node could not be configured."""

    def __init__(self, node: Node, reason: str) -> None:
        """Subscribe to commands until `destroy`.

        Args:
            node: Owner of the topics.
            reason: Reason in every result.
        """
        self._node = node
        self._reason = reason
        # A plain publisher: a lifecycle publisher publishes only while the node is active.
        self._results = node.create_publisher(SegmentationMessage, 'segmentation', qos.reliable())
        self._subscriptions = [
            node.create_subscription(String, 'command', self._on_text, qos.reliable(10)),
            node.create_subscription(
                Command, 'command_request', self._on_command, qos.reliable(10)
            ),
        ]

    def destroy(self) -> None:
        """Remove the topics from the node."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._node.destroy_publisher(self._results)

    def _on_text(self, message: String) -> None:
        self._on_command(Command(instruction=message.data))

    def _on_command(self, message: Command) -> None:
        result = rejection(message.instruction, self._reason, id=message.id)
        failure = dataclasses.replace(result, state=State.FAILED)
        self._results.publish(_to_message(self._node, failure))
