"""Images of a camera into the engine."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from instructseg_ros.ros import qos
from instructseg_ros.ros.conversions import ConversionError, compressed_to_rgb, image_to_rgb
from instructseg_ros.ros.endpoints import create_subscription
from instructseg_ros.ros.messages import stamp_to_nanoseconds
from instructseg_ros.ros.stamp_check import StampCheck
from instructseg_ros.streaming.bit_depth import BitDepth
from instructseg_ros.streaming.engine import Engine


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

    def __init__(self, node: Node, camera: str, engine: Engine, *, transport: str,
                 warn: Callable[[str], object],
                 on_header: Callable[[Header], object]) -> None:
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
            (Image, image_to_rgb) if transport == 'raw' else (CompressedImage, compressed_to_rgb))
        self._bits = BitDepth()
        self._subscription = create_subscription(
            node, message_type, self._topic, self._on_image, qos.sensor())

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
