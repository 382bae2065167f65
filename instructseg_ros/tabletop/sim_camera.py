"""Simulated RGB-D camera over a tabletop, with ground truth for every pixel.

Publishes `image` (rgb8), `camera_info`, `depth/image` (32FC1, m), `truth/labels` (mono8, one value
for each object, 0 for the background) and `scene` (scene graph as JSON), all with equal stamps.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from instructseg_ros.ros import parameters, qos
from instructseg_ros.ros.messages import array_to_image, stamp_to_nanoseconds
from instructseg_ros.ros.node_runner import run_node
from instructseg_ros.ros.parameters import parameter
from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.tabletop.world.mujoco_model import OpenGLError
from instructseg_ros.tabletop.world.scene_graph import to_json

if TYPE_CHECKING:
    from instructseg_ros.tabletop.world.simulator import Observation

SOURCES = ('auto', 'live', 'recording')


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimCameraParameters:
    """Parameters of the simulated camera."""

    source: str = parameter(
        'auto',
        'live: render with MuJoCo; recording: play the recording in the package; '
        'auto: live if OpenGL works, otherwise the recording',
        read_only=True,
    )
    scene: int = parameter(
        0,
        'Seed of the scene; setting it changes the scene',
        minimum=0,
        maximum=2**31 - 1,
        dynamic=True,
    )
    rate: float = parameter(15.0, 'Images per second', minimum=0.1, maximum=120.0, read_only=True)
    width: int = parameter(
        640, 'Width in pixels (live only)', minimum=16, maximum=1920, read_only=True
    )
    height: int = parameter(
        480, 'Height in pixels (live only)', minimum=16, maximum=1080, read_only=True
    )
    frame_id: str = parameter(
        'camera_optical_frame',
        'TF frame of all outputs (x right, y down, z forward)',
        read_only=True,
    )


class FrameSource(Protocol):
    """A source of frames: the renderer or a recording."""

    def reset(self, seed: int) -> None:
        """Switch to another scene."""

    def observe(self, time: float, *, truth: bool = True) -> Observation:
        """Return the frame at `time` seconds, with depth and labels if `truth` is set."""

    def close(self) -> None:
        """Release the renderer or the file."""


class SimCamera(Node):
    """Publishes a scene in real time; depth and ground truth only while they have subscribers."""

    def __init__(self) -> None:
        """Open the source and start publishing."""
        # Set before the node is created: rclpy calls destroy_node if it rejects a parameter.
        self._opened = ExitStack()
        super().__init__('sim_camera')
        parameters.declare(self, SimCameraParameters)
        parameters.warn_of_unknown(self)
        self._values = parameters.read(self, SimCameraParameters)
        self._source = open_source(self._values, warn=self.get_logger().warning)
        self._opened.callback(self._source.close)
        self.get_logger().info(f'frames come from {type(self._source).__name__}')
        self._scene = self._values.scene
        self._start = self.get_clock().now()
        self._image = self._publisher(Image, 'image')
        self._info = self._publisher(CameraInfo, 'camera_info')
        self._depth = self._publisher(Image, 'depth/image')
        self._labels = self._publisher(Image, 'truth/labels')
        self._graph = self._publisher(String, 'scene')
        self.create_timer(1.0 / self._values.rate, self._publish_frame)

    def destroy_node(self) -> None:
        """Release the source, then the node."""
        self._opened.close()
        super().destroy_node()

    def _publisher(self, message_type: type, topic: str) -> Any:
        return self.create_publisher(
            message_type, topic, qos.reliable(), qos_overriding_options=qos.overridable()
        )

    def _publish_frame(self) -> None:
        scene = self.get_parameter('scene').value
        now = self.get_clock().now()
        if scene != self._scene:
            self._source.reset(scene)
            self._scene, self._start = scene, now
        truth = any(p.get_subscription_count() for p in (self._depth, self._labels, self._graph))
        time = (now - self._start).nanoseconds * 1e-9
        header = Header(stamp=now.to_msg(), frame_id=self._values.frame_id)
        self._publish(self._source.observe(time, truth=truth), header)

    def _publish(self, observation: Observation, header: Header) -> None:
        self._info.publish(camera_info(observation.pinhole, header))
        if observation.depth is not None and observation.labels is not None:
            self._depth.publish(array_to_image(observation.depth, header=header, encoding='32FC1'))
            self._labels.publish(
                array_to_image(observation.labels, header=header, encoding='mono8')
            )
            self._graph.publish(
                String(
                    data=to_json(
                        observation.graph,
                        stamp=stamp_to_nanoseconds(header.stamp),
                        scene=self._scene,
                        time=observation.time,
                    )
                )
            )
        self._image.publish(array_to_image(observation.rgb, header=header, encoding='rgb8'))


def open_source(values: SimCameraParameters, *, warn: Callable[[str], object]) -> FrameSource:
    """Open the renderer or the recording, according to the parameter `source`.

    Args:
        values: Parameters of the node.
        warn: Receives the reason if `auto` falls back to the recording.

    Raises:
        RuntimeError: The source does not exist or cannot be opened; the message says why.
    """
    if values.source not in SOURCES:
        raise RuntimeError(f'source "{values.source}" does not exist; use {", ".join(SOURCES)}')
    try:
        # Imported here: a robot with a real camera needs neither MuJoCo nor rosbags.
        from instructseg_ros.tabletop.world.recording import Recording
        from instructseg_ros.tabletop.world.simulator import Tabletop
    except ImportError as error:
        raise RuntimeError(
            f'the simulated camera needs the Python package {error.name}: '
            'python3 -m pip install mujoco rosbags'
        ) from error
    if values.source != 'recording':
        try:
            return Tabletop(width=values.width, height=values.height, seed=values.scene)
        except OpenGLError as error:
            if values.source == 'live':
                raise
            warn(f'playing the recording (at its own image size) instead of rendering: {error}')
    source: FrameSource = Recording()
    source.reset(values.scene)
    return source


def camera_info(pinhole: Pinhole, header: Header) -> CameraInfo:
    """Return the message for a pinhole camera without distortion."""
    fx, fy, cx, cy = pinhole.fx, pinhole.fy, pinhole.cx, pinhole.cy
    return CameraInfo(
        header=header,
        width=pinhole.width,
        height=pinhole.height,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the simulated camera until it is stopped and return the exit status."""
    return run_node(
        SimCamera, name='sim_camera', about=__doc__, table=SimCameraParameters, args=args
    )


if __name__ == '__main__':
    sys.exit(main())
