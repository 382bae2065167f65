"""Subscriptions to camera images and commands, which feed the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from instructseg_ros.msg import Command
from instructseg_ros.ros import qos
from instructseg_ros.ros.messages import (
    ConversionError,
    compressed_to_rgb,
    image_to_rgb,
    instruction_from_command,
    rejection,
    seconds_to_duration,
    stamp_to_nanoseconds,
    stop_reason,
)
from instructseg_ros.ros.qos import create_subscription
from instructseg_ros.spatial.pinhole import named_rectified
from instructseg_ros.streaming.encodings import BitDepth
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import InstructionError, quote

MAX_EQUAL_STAMPS: Final = 10  # images in a row with the same stamp before that is reported
COMMAND_DEPTH: Final = 100  # queued commands of a burst; each gets a result


class StampCheck:
    """Warns once if the images of a topic have no stamps, or all have the same one."""

    def __init__(self, topic: str, warn: Callable[[str], object]) -> None:
        """Start without any stamp."""
        self._topic = topic
        self._warn = warn
        self._last: int | None = None
        self._repeats = 0
        self._warned = False

    def note(self, stamp: int) -> None:
        """Record the stamp of an image, ns."""
        self._repeats = self._repeats + 1 if self._last == stamp else 0
        self._last = stamp
        if stamp == 0:
            self._warn_once(
                'have no stamp (all zeros): reference frames are chosen by arrival time, depth and '
                'other topics cannot be matched with the results, and the age of a result is '
                'unknown'
            )
        elif self._repeats >= MAX_EQUAL_STAMPS:
            self._warn_once(
                'all have the same stamp: there are no reference frames, depth and other topics '
                'cannot be matched with the results, and the age of a result is wrong'
            )

    def _warn_once(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(
                f'images on {self._topic} {problem}; let the camera driver set '
                f'header.stamp to the time of exposure'
            )


def camera_topic(camera: str, name: str) -> str:
    """Return the relative name of a camera's topic."""
    return f'{camera}/{name}' if camera else name


def image_topic(node: Node, camera: str, *, transport: str = 'raw') -> str:
    """Return the resolved topic of a camera's images.

    As with image_transport, remapping `image` also remaps `image/compressed`.
    """
    raw = node.resolve_topic_name(camera_topic(camera, 'image'))
    return raw if transport == 'raw' else f'{raw}/{transport}'


def shows_rectified(topic: str, rectification: str) -> bool:
    """Return whether the images of a topic are rectified.

    Args:
        topic: Resolved name.
        rectification: `raw` or `rectified`; `auto` decides by the name, see `named_rectified`.
    """
    if rectification != 'auto':
        return rectification == 'rectified'
    return named_rectified(topic)


class CameraInput:
    """Passes each image of a camera, or the reason why it is unreadable, to the engine."""

    def __init__(
        self,
        node: Node,
        camera: str,
        engine: Engine,
        *,
        transport: str,
        warn: Callable[[str], object],
        on_header: Callable[[Header], object],
    ) -> None:
        """Subscribe until `destroy`.

        Args:
            node: Owner of the subscription.
            camera: Name of the camera.
            engine: Receives the images.
            transport: `raw` or `compressed`.
            warn: Called with a description of each unreadable image.
            on_header: Called with the header of each image before it is converted.
        """
        self._node = node
        self._camera = camera
        self._engine = engine
        self._warn = warn
        self._on_header = on_header
        self._topic = image_topic(node, camera, transport=transport)
        # Not throttled: each fault is reported only once, so a dropped report would never return.
        self._stamps = StampCheck(self._topic, node.get_logger().warning)
        message_type, self._to_rgb = (
            (Image, image_to_rgb) if transport == 'raw' else (CompressedImage, compressed_to_rgb)
        )
        self._bits = BitDepth()
        self._subscription = create_subscription(
            node, message_type, self._topic, self._on_image, qos.sensor()
        )

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._on_header(message.header)
        stamp = stamp_to_nanoseconds(message.header.stamp)
        self._stamps.note(stamp)
        try:
            rgb = self._to_rgb(message, self._bits)
        except ConversionError as error:
            reason = f'image on {self._topic} refused: {error}'
            self._warn(reason)
            self._engine.refuse_frame(reason, header=message.header, camera=self._camera)
            return
        self._engine.add_frame(rgb, stamp=stamp, header=message.header, camera=self._camera)


class TokenBucket:
    """Rate limiter: allows `burst` events at once and `rate` events per second on average.

    Attributes:
        rate: Maximum average number of events per second.
        burst: Maximum number of events at once.
    """

    def __init__(
        self, *, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with a full bucket; `clock` returns seconds."""
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._last = clock()

    def take(self) -> bool:
        """Take a token; return False if none is left."""
        now = self._clock()
        self._tokens = min(float(self.burst), self._tokens + (now - self._last) * self.rate)
        self._last = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class CommandInput:
    """Passes valid commands of both command topics to the engine, and rejects others."""

    def __init__(self, node: Node, engine: Engine, *, cameras: Sequence[str]) -> None:
        """Subscribe until `destroy`.

        Args:
            node: Owner of the subscriptions and of the parameters.
            engine: Receives the instructions and publishes the rejections.
            cameras: Names of the node's cameras.
        """
        self._node = node
        self._engine = engine
        self._cameras = cameras
        self._bucket = TokenBucket(
            rate=self._parameter('max_command_rate'), burst=self._parameter('command_burst')
        )
        self._subscriptions = [
            create_subscription(
                node, String, 'command', self._on_text, qos.reliable(COMMAND_DEPTH)
            ),
            create_subscription(
                node, Command, 'command_request', self._on_command, qos.reliable(COMMAND_DEPTH)
            ),
        ]

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_text(self, message: String) -> None:
        lifetime = seconds_to_duration(self._parameter('lifetime'))
        self._on_command(Command(instruction=message.data, lifetime=lifetime, slot=Command.PERSON))

    def _on_command(self, message: Command) -> None:
        try:
            if not message.instruction.strip():
                self._stop(message)
                return
            self._check_rate()
            self._engine.give(
                instruction_from_command(
                    message, cameras=self._cameras, max_length=self._parameter('max_text_length')
                )
            )
        except InstructionError as error:
            self._engine.reject(rejection(message.instruction, str(error), id=message.id))

    def _stop(self, command: Command) -> None:
        """Stop the instruction with the id or in the slot of a command without text.

        Not rate-limited, so that it works during a flood of commands.

        Raises:
            InstructionError: The command has neither id nor slot, or there is no such instruction.
        """
        if command.id:  # before the slot, which another program may have taken since
            where = f'under the id {quote(command.id)}'
            ended = self._engine.cancel(command.id, reason='stopped on command')
        elif command.slot:
            where = f'in slot {quote(command.slot)}'
            ended = self._engine.cancel(slot=command.slot, reason=stop_reason(command.slot))
        else:
            raise InstructionError(
                'an empty instruction means stop and needs an id or a slot; '
                'call ~/cancel to stop everything'
            )
        if not ended:
            raise InstructionError(f'nothing to stop: no instruction is active {where}')

    def _check_rate(self) -> None:
        self._bucket.rate = self._parameter('max_command_rate')
        self._bucket.burst = self._parameter('command_burst')
        if not self._bucket.take():
            raise InstructionError(
                f'more than {self._bucket.rate:g} commands per second; send fewer, or raise '
                f'max_command_rate'
            )

    def _parameter(self, name: str) -> Any:
        return self._node.get_parameter(name).value
