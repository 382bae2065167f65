"""Services and the action: submit an instruction and wait for its result."""

from __future__ import annotations

import dataclasses
import threading
import uuid
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
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import (
    Instruction,
    InstructionError,
    Until,
    describe_error,
    quote,
)
from instructseg_ros.streaming.segmentation import Segmentation, State

Listener = Callable[[Segmentation], object]


class RequestBroker:
    """Open while the node is active.

    Attributes:
        cameras: Names of the cameras.
        callback_group: Of what waits here for answers, so that it holds up nothing else.
    """

    def __init__(self, node: Node) -> None:
        """Begin closed; commands are checked against the parameters of the node."""
        self._node = node
        self._engine: Engine | None = None
        self._why_closed = 'the node is not configured'
        self.cameras: Sequence[str] = ('',)
        self.callback_group = ReentrantCallbackGroup()
        # By identity: two instructions may have the same id, until the engine refuses one.
        self._listeners: dict[int, tuple[Instruction, Command, Listener]] = {}
        self._lock = threading.Lock()

    @property
    def why_closed(self) -> str:
        """Why nothing can be handed in; empty while the node is active."""
        return '' if self._engine else self._why_closed

    @property
    def engine(self) -> Engine:
        """The engine.

        Raises:
            InstructionError: The node is not active; the message says why, and the remedy.
        """
        if self._engine is None:
            name = self._node.get_fully_qualified_name()
            raise InstructionError(
                f'{self._why_closed}; look at "ros2 lifecycle get {name}" and bring it to active '
                f'with "ros2 lifecycle set {name} configure" and "activate"'
            )
        return self._engine

    def open(self, engine: Engine, cameras: Sequence[str]) -> None:
        """Let commands in."""
        self._engine = engine
        self.cameras = cameras

    def close(self, reason: str) -> None:
        """Refuse commands from now on; those that wait get their last answer from the engine."""
        self._engine = None
        self._why_closed = reason

    async def submit(
        self,
        command: Command,
        *,
        until: Until,
        image: Image | None = None,
        on_result: Listener = lambda result: None,
    ) -> Segmentation:
        """Give a command to the engine and wait for its final result.

        Args:
            command: What is asked.
            until: What ends it.
            image: The image that it is about; None: those of the cameras.
            on_result: Called with each result before the final one, from a thread of the engine.

        Raises:
            InstructionError: It cannot be followed.
            ConversionError: The image cannot be read.
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

        A command of the same id from another program is left alone.
        """
        engine = self._engine
        if engine is None:  # closing ended everything
            return
        with self._lock:
            given = [
                each for each, its_command, _ in self._listeners.values() if its_command is command
            ]
        for instruction in given:
            engine.withdraw(instruction)

    def dispatch(self, results: Sequence[Segmentation]) -> None:
        """Give results to those who wait for them; any thread may call it."""
        for result in results:
            key = id(result.instruction)
            with self._lock:
                *_, listener = self._listeners.get(key, (None,))
                if result.final:
                    self._listeners.pop(key, None)
            if listener is not None:
                self._tell(listener, result)

    def _tell(self, listener: Listener, result: Segmentation) -> None:
        try:
            listener(result)
        except Exception as error:
            self._node.get_logger().error(
                f'an answer could not be passed on: {type(error).__name__}: {describe_error(error)}'
            )

    def _expect(
        self, instruction: Instruction, command: Command, on_result: Listener
    ) -> Future[Segmentation]:
        future: Future[Segmentation] = Future(executor=self._node.executor)
        # A task of the executor's, which wakes it when another thread sets the result.
        future.add_done_callback(lambda _: None)

        def hear(result: Segmentation) -> None:
            if result.final:
                future.set_result(result)
            else:
                on_result(result)

        with self._lock:
            self._listeners[id(instruction)] = (instruction, command, hear)
        return future


# Seconds for which a result, with its mask, waits to be fetched; the default is 15 minutes.
RESULT_TIMEOUT: Final = 30


class FindAction:
    """Follows one instruction for each goal; its answers go to the topics as well."""

    def __init__(self, node: Node, desk: RequestBroker) -> None:
        """Offer the action on a node."""
        self._node = node
        self._desk = desk
        self._server = ActionServer(
            node,
            Find,
            '~/find',
            execute_callback=self._find,
            goal_callback=self._accept,
            cancel_callback=self._cancel,
            result_timeout=RESULT_TIMEOUT,
            callback_group=desk.callback_group,
        )

    def destroy(self) -> None:
        """Withdraw the action."""
        self._server.destroy()

    def _accept(self, goal: Find.Goal) -> GoalResponse:
        """Accept every goal: only a result can say why one cannot be followed."""
        goal.command.id = goal.command.id or uuid.uuid4().hex[:12]
        return GoalResponse.ACCEPT

    async def _find(self, goal: ServerGoalHandle) -> Find.Result:
        command = goal.request.command

        def tell(result: Segmentation) -> None:
            goal.publish_feedback(Find.Feedback(segmentation=self._to_message(result)))

        try:
            if goal.is_cancel_requested:
                raise InstructionError('cancelled before the search began')
            answer = await self._desk.submit(command, until=Until.FOUND, on_result=tell)
        except InstructionError as error:
            answer = rejection(command.instruction, str(error), id=command.id)
        _finish(goal, answer.state)
        return Find.Result(segmentation=self._to_message(answer))

    def _cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        self._desk.withdraw(goal.request.command)
        return CancelResponse.ACCEPT

    def _to_message(self, result: Segmentation) -> SegmentationMessage:
        return segmentation_to_message(result, now=self._node.get_clock().now().to_msg())


def _finish(goal: ServerGoalHandle, state: State) -> None:
    if goal.is_cancel_requested:
        goal.canceled()
    elif state is State.FOUND:
        goal.succeed()
    else:
        goal.abort()


class Services:
    """Offers the services as long as the node lives; they say so where it is not active."""

    def __init__(self, node: Node, desk: RequestBroker, *, enable: Callable[[bool], str]) -> None:
        """Offer them on a node.

        Args:
            node: Owner of the services.
            desk: Takes what is asked.
            enable: Switches streaming on or off and says in words what it did.
        """
        self._node = node
        self._desk = desk
        self._enable_streaming = enable
        for service_type, name, answer in (
            (Segment, '~/segment', self._segment),
            (Cancel, '~/cancel', self._cancel),
            (SetBool, '~/enable', self._enable),
        ):
            # By default the eleventh request of a burst is lost without a word, and while one
            # request waits for its answer nothing else of the node runs.
            node.create_service(
                service_type,
                name,
                answer,
                qos_profile=qos.reliable(100),
                callback_group=desk.callback_group,
            )

    async def _segment(
        self, request: Segment.Request, response: Segment.Response
    ) -> Segment.Response:
        """Answer once, on the image of the request or the newest one of a camera."""
        image = request.image
        has_image = bool(image.width or image.height or image.data)
        command = Command(
            instruction=request.instruction,
            task=request.task,
            cameras=[] if has_image else [request.camera or self._desk.cameras[0]],
        )
        try:
            answer = await self._desk.submit(
                command, until=Until.ANSWERED, image=image if has_image else None
            )
        except (InstructionError, ConversionError) as error:
            answer = rejection(request.instruction, str(error))
        response.segmentation = segmentation_to_message(
            answer, now=self._node.get_clock().now().to_msg()
        )
        return response

    def _cancel(self, request: Cancel.Request, response: Cancel.Response) -> Cancel.Response:
        try:
            response.cancelled = self._desk.engine.cancel(request.id)
        except InstructionError as error:
            response.reason = str(error)
            return response
        if not response.cancelled:
            active = ', '.join(each.id for each in self._desk.engine.active())
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


class FailedAnswers:
    """Answers every command FAILED, with the reason why the node is not configured."""

    def __init__(self, node: Node, reason: str) -> None:
        """Begin to listen; `destroy` ends it."""
        self._node = node
        self._reason = reason
        # Not of the lifecycle: those publish while the node is active, which it cannot be.
        self._results = node.create_publisher(SegmentationMessage, 'segmentation', qos.reliable())
        self._inputs = [
            node.create_subscription(String, 'command', self._on_text, qos.reliable(10)),
            node.create_subscription(
                Command, 'command_request', self._on_command, qos.reliable(10)
            ),
        ]

    def destroy(self) -> None:
        """Remove the topics from the node."""
        for subscription in self._inputs:
            self._node.destroy_subscription(subscription)
        self._node.destroy_publisher(self._results)

    def _on_text(self, message: String) -> None:
        self._on_command(Command(instruction=message.data))

    def _on_command(self, message: Command) -> None:
        answer = rejection(message.instruction, self._reason, id=message.id)
        self._results.publish(
            segmentation_to_message(
                dataclasses.replace(answer, state=State.FAILED),
                now=self._node.get_clock().now().to_msg(),
            )
        )
