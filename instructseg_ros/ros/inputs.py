"""Subscriptions to camera images, depth and commands, passed to the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
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
from instructseg_ros.ros.synchronizer import ApproximateTimeSynchronizer, MatchWatch, SimpleFilter
from instructseg_ros.streaming.encodings import BitDepth
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import InstructionError, quote

SURE_AFTER: Final = 10  # images in a row whose stamps do not advance


class StampCheck:
    """Warns once for each camera whose stamps are of no use, and names the remedy."""

    def __init__(self, topic: str, warn: Callable[[str], object]) -> None:
        """Begin with no image of a topic seen."""
        self._topic = topic
        self._warn = warn
        self._last: int | None = None
        self._standing = 0
        self._warned = False

    def note(self, stamp: int) -> None:
        """Take note of the stamp of an image, ns."""
        self._standing = self._standing + 1 if self._last == stamp else 0
        self._last = stamp
        if stamp == 0:
            self._warn_once(
                'have no stamp (all zeros): earlier images are shown to the model by the time of '
                'their arrival, depth and other topics cannot be matched with the results, and '
                'the age of a result is unknown'
            )
        elif self._standing >= SURE_AFTER:
            self._warn_once(
                'all have the same stamp: no earlier image is shown to the model, depth and other '
                'topics cannot be matched with the results, and the age of a result is wrong'
            )

    def _warn_once(self, trouble: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(
                f'images on {self._topic} {trouble}; let the camera driver set '
                f'header.stamp to the time of exposure'
            )


def camera_topic(camera: str, name: str) -> str:
    """Return the relative name of a camera's topic."""
    return f'{camera}/{name}' if camera else name


def image_topic(node: Node, camera: str, *, transport: str = 'raw') -> str:
    """Return the resolved topic of a camera's images.

    As with image_transport, remapping `image` moves its compressed images too.
    """
    raw = node.resolve_topic_name(camera_topic(camera, 'image'))
    return raw if transport == 'raw' else f'{raw}/{transport}'


def shows_rectified(topic: str, rectification: str) -> bool:
    """Tell whether the images of a topic are rectified.

    Args:
        topic: Resolved name. By convention, rectified images have the word `rect` in its last part
            (image_rect, image_rect_color, as of image_proc), or are in a namespace `rect`
            (rect/image, as of ZED).
        rectification: `raw` or `rectified`, whatever the name is; `auto`: by the name.
    """
    if rectification != 'auto':
        return rectification == 'rectified'
    namespace, _, name = topic.rpartition('/')
    words = {namespace.rpartition('/')[2], *name.split('_')}
    return bool({'rect', 'rectified'} & words)


class CameraInput:
    """Hands each image of a camera to the engine, or the reason why it cannot be read."""

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
        """Begin to listen; `destroy` ends it.

        Args:
            node: Owner of the subscription.
            camera: Name of the camera.
            engine: Takes the images.
            transport: `raw` or `compressed`.
            warn: Is told of images that cannot be read.
            on_header: Called with the header of each image, before it is read.
        """
        self._node = node
        self._camera = camera
        self._engine = engine
        self._warn = warn
        self._on_header = on_header
        self._topic = image_topic(node, camera, transport=transport)
        # Not throttled: it warns once, and nobody would repeat what the throttle drops.
        self._stamps = StampCheck(self._topic, node.get_logger().warning)
        message_type, self._to_rgb = (
            (Image, image_to_rgb) if transport == 'raw' else (CompressedImage, compressed_to_rgb)
        )
        self._bits = BitDepth()
        self._subscription = create_subscription(
            node, message_type, self._topic, self._on_image, qos.sensor()
        )

    def destroy(self) -> None:
        """Stop listening."""
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


QUEUE = 5


@dataclass(frozen=True)
class _Stamped:
    """An image without its pixels, which the synchronizer would keep for nothing."""

    header: Header


class DepthInput:
    """Listens while it is wanted, and tells of each image whose depth has come.

    Attributes:
        depth_topic: Resolved name of the topic of depth.
        info_topic: Resolved name of the topic of the calibration.
    """

    def __init__(
        self,
        node: Node,
        camera: str,
        *,
        slop: float,
        queue: int,
        on_match: Callable[[Header, Image, CameraInfo], object],
    ) -> None:
        """Begin without listening.

        Args:
            node: Owner of the subscriptions.
            camera: Name of the camera.
            slop: Most time between the stamps of what matches, s.
            queue: Messages of each kind that wait for the others.
            on_match: Called with the header of an image, its depth and its calibration.
        """
        self._node = node
        self._camera = camera
        self._subscriptions: list[Subscription] = []
        self.depth_topic, self.info_topic = (
            node.resolve_topic_name(camera_topic(camera, name))
            for name in ('depth/image', 'camera_info')
        )
        # Not throttled: it warns once, and nobody would repeat what the throttle drops.
        self._watch = MatchWatch(
            (self.depth_topic, self.info_topic),
            slop=slop,
            queue=queue,
            warn=node.get_logger().warning,
        )
        self._on_match = on_match
        self._color, self._depth, self._info = SimpleFilter(), SimpleFilter(), SimpleFilter()
        self._synchronizer = ApproximateTimeSynchronizer(
            [self._color, self._depth, self._info], queue, slop
        )
        self._synchronizer.registerCallback(self._take)

    def listen(self, wanted: bool) -> None:
        """Listen, or do not."""
        if wanted and not self._subscriptions:
            self._watch.begin()
            for message_type, name, topic, into in (
                (Image, 'depth/image', self.depth_topic, self._depth),
                (CameraInfo, 'camera_info', self.info_topic, self._info),
            ):
                self._subscriptions.append(
                    create_subscription(
                        self._node,
                        message_type,
                        camera_topic(self._camera, name),
                        partial(self._hear, topic, into),
                        qos.sensor(QUEUE),
                    )
                )
        elif not wanted:
            self.destroy()

    def add(self, header: Header) -> None:
        """Take note of an image."""
        if self._subscriptions:
            self._color.signalMessage(_Stamped(header))
            self._watch.note_image(stamp_to_nanoseconds(header.stamp))

    def report_unmatched(self) -> None:
        """Say once why images are without depth or calibration."""
        self._watch.report()

    def destroy(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _hear(self, topic: str, into: SimpleFilter, message: Image | CameraInfo) -> None:
        self._watch.note(topic, stamp_to_nanoseconds(message.header.stamp))
        into.signalMessage(message)

    def _take(self, image: _Stamped, depth: Image, info: CameraInfo) -> None:
        self._watch.note_match()
        self._on_match(image.header, depth, info)


class TokenBucket:
    """Lets `burst` things happen at once, and `rate` a second in the long run.

    Attributes:
        rate: Of the long run, 1/s.
        burst: Most at once.
    """

    def __init__(
        self, *, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with a full bucket; `clock` gives seconds."""
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._last = clock()

    def take(self) -> bool:
        """Take a token; False if there is none."""
        now = self._clock()
        self._tokens = min(float(self.burst), self._tokens + (now - self._last) * self.rate)
        self._last = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


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
            rate=self._parameter('max_command_rate'), burst=self._parameter('command_burst')
        )
        self._subscriptions = [
            create_subscription(node, String, 'command', self._on_text, qos.reliable(DEPTH)),
            create_subscription(
                node, Command, 'command_request', self._on_command, qos.reliable(DEPTH)
            ),
        ]

    def destroy(self) -> None:
        """Stop listening."""
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
                'call ~/cancel to stop everything'
            )
        if not ended:
            raise InstructionError(f'nothing to stop: no instruction is active {where}')

    def _check_rate(self) -> None:
        self._bucket.rate = self._parameter('max_command_rate')
        self._bucket.burst = self._parameter('command_burst')
        if not self._bucket.take():
            raise InstructionError(
                f'commands come faster than {self._bucket.rate:g} a second; send fewer, or raise '
                f'max_command_rate'
            )

    def _parameter(self, name: str) -> Any:
        return self._node.get_parameter(name).value
