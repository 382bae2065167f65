"""Commands on topics into the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String

from instructseg_ros.msg import Command
from instructseg_ros.ros import qos
from instructseg_ros.ros.endpoints import create_subscription
from instructseg_ros.ros.messages import (
    instruction_from_command,
    rejection,
    seconds_to_duration,
    stop_reason,
)
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import InstructionError
from instructseg_ros.streaming.quoting import quote
from instructseg_ros.streaming.token_bucket import TokenBucket

DEPTH = 100  # of a burst of commands, each of which is answered


class CommandInput:
    """Gives what is said on `command` and `command_request` to the engine, or rejects it."""

    def __init__(self, node: Node, engine: Engine, *, cameras: Sequence[str]) -> None:
        """Begin to listen; `destroy` ends it.

        Args:
            node: Owner of the subscriptions and of the parameters.
            engine: Takes the instructions, and the answers to those that cannot be followed.
            cameras: Names of its cameras.
        """
        self._node = node
        self._engine = engine
        self._cameras = cameras
        self._bucket = TokenBucket(
            rate=self._parameter('max_command_rate'), burst=self._parameter('command_burst'))
        self._subscriptions = [
            create_subscription(node, String, 'command', self._on_text, qos.reliable(DEPTH)),
            create_subscription(node, Command, 'command_request', self._on_command,
                                qos.reliable(DEPTH)),
        ]

    def destroy(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_text(self, message: String) -> None:
        lifetime = seconds_to_duration(self._parameter('lifetime'))
        self._on_command(
            Command(instruction=message.data, lifetime=lifetime, slot=Command.PERSON))

    def _on_command(self, message: Command) -> None:
        try:
            if not message.instruction.strip():
                self._stop(message)
                return
            self._check_rate()
            self._engine.give(instruction_from_command(
                message, cameras=self._cameras,
                max_length=self._parameter('max_text_length')))
        except InstructionError as error:
            self._engine.reject(rejection(message.instruction, str(error), id=message.id))

    def _stop(self, command: Command) -> None:
        """End what a command without text names; not rate-limited, it has to work in a flood.

        Raises:
            InstructionError: It names nothing, or nothing that is active.
        """
        if command.id:  # another program may hold the slot by now
            where = f'under the id {quote(command.id)}'
            ended = self._engine.cancel(command.id, reason='stopped on command')
        elif command.slot:
            where = f'in slot {quote(command.slot)}'
            ended = self._engine.cancel(slot=command.slot, reason=stop_reason(command.slot))
        else:
            raise InstructionError(
                'an empty instruction means stop and needs an id or a slot; '
                'call ~/cancel to stop everything')
        if not ended:
            raise InstructionError(f'nothing to stop: no instruction is active {where}')

    def _check_rate(self) -> None:
        self._bucket.rate = self._parameter('max_command_rate')
        self._bucket.burst = self._parameter('command_burst')
        if not self._bucket.take():
            raise InstructionError(
                f'commands come faster than {self._bucket.rate:g} a second; send fewer, or raise '
                f'max_command_rate')

    def _parameter(self, name: str) -> Any:
        return self._node.get_parameter(name).value
