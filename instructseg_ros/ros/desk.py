"""Where services and actions hand in commands and wait for the answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Image

from instructseg_ros.msg import Command
from instructseg_ros.ros.conversions import image_to_rgb
from instructseg_ros.ros.messages import instruction_from_command, stamp_to_nanoseconds
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import Instruction, InstructionError, Until
from instructseg_ros.streaming.quoting import describe_error
from instructseg_ros.streaming.segmentation import Segmentation

Listener = Callable[[Segmentation], object]


class Desk:
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
                f'with "ros2 lifecycle set {name} configure" and "activate"')
        return self._engine

    def open(self, engine: Engine, cameras: Sequence[str]) -> None:
        """Let commands in."""
        self._engine = engine
        self.cameras = cameras

    def close(self, reason: str) -> None:
        """Refuse commands from now on; those that wait get their last answer from the engine."""
        self._engine = None
        self._why_closed = reason

    async def hand_in(self, command: Command, *, until: Until, image: Image | None = None,
                      on_result: Listener = lambda result: None) -> Segmentation:
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
            command, cameras=self.cameras, until=until,
            max_length=self._node.get_parameter('max_text_length').value)
        pixels = None if image is None else image_to_rgb(image)
        future = self._expect(instruction, command, on_result)
        try:
            if image is None or pixels is None:
                engine.give(instruction)
            else:
                engine.ask(instruction, pixels, header=image.header,
                           stamp=stamp_to_nanoseconds(image.header.stamp))
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
            given = [each for each, its_command, _ in self._listeners.values()
                     if its_command is command]
        for instruction in given:
            engine.withdraw(instruction)

    def pass_on(self, results: Sequence[Segmentation]) -> None:
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
                f'an answer could not be passed on: {type(error).__name__}: '
                f'{describe_error(error)}')

    def _expect(self, instruction: Instruction, command: Command,
                on_result: Listener) -> Future[Segmentation]:
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
