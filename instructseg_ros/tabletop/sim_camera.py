"""Simulated RGB-D camera over a tabletop, with ground truth for every pixel.

Publishes `image` (rgb8), `camera_info`, `depth/image` (32FC1, m), `truth/labels` (mono8, one value
for each object, 0 for the background) and `scene` (scene graph as JSON), all with equal stamps.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, cast

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from instructseg_ros.ros import parameters, qos
from instructseg_ros.ros.messages import array_to_image, stamp_to_nanoseconds
from instructseg_ros.ros.node_runner import run_node
from instructseg_ros.ros.parameters import parameter
from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.tabletop.world.arrangement import lone_object, random_scene
from instructseg_ros.tabletop.world.catalogue import COLORS, NOVEL_CATEGORIES, OBJECT_CATEGORIES
from instructseg_ros.tabletop.world.mujoco_model import OpenGLError
from instructseg_ros.tabletop.world.scene import Scene
from instructseg_ros.tabletop.world.scene_graph import to_json

if TYPE_CHECKING:
    from instructseg_ros.tabletop.world.simulator import Observation

SOURCES = ('auto', 'live', 'recording')
NEEDS_RENDERING = (
    'show and novel choose objects that the recording does not have: use source:=live, which '
    'renders with MuJoCo, or leave both empty'
)
CATEGORIES = (*OBJECT_CATEGORIES, *NOVEL_CATEGORIES)


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
    show: str = parameter(
        '',
        'Category of an object that is shown alone on an empty table, each time at another place '
        'and angle, as for `instructseg teach` (live only); empty: the usual scene. Categories: '
        + ', '.join(CATEGORIES),
        dynamic=True,
    )
    show_color: str = parameter(
        'red', 'Color of the object in show: ' + ', '.join(COLORS), dynamic=True
    )
    show_seconds: float = parameter(
        3.0,
        'Time after which the object in show is put to another place, s',
        minimum=0.1,
        maximum=3600.0,
        read_only=True,
    )
    novel: str = parameter(
        '',
        'Further categories of objects in the usual scene, separated by commas (live only); '
        'empty: none. Categories that no scene has otherwise: ' + ', '.join(NOVEL_CATEGORIES),
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


class RenderingSource(FrameSource, Protocol):
    """A source that can show any scene."""

    def show(self, scene: Scene) -> None:
        """Switch to a scene."""


class UnknownNameError(RuntimeError):
    """A category or color does not exist; the message lists those that do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneChoice:
    """A choice of the scene by the parameters of the same names.

    Raises:
        UnknownNameError: A category or color does not exist.
    """

    scene: int
    show: str
    show_color: str
    novel: str

    def __post_init__(self) -> None:
        _check_name('show', self.show, ('', *CATEGORIES))
        _check_name('show_color', self.show_color, tuple(COLORS))
        for category in self._novel:
            _check_name('novel', category, NOVEL_CATEGORIES)

    @property
    def is_usual(self) -> bool:
        """Whether it is a scene that recordings have, too."""
        return not (self.show or self._novel)

    @property
    def _novel(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.novel.split(',') if part.strip())

    def arrange(self, view: int) -> Scene:
        """Return the scene; `view` is the number of the place of an object shown alone."""
        if self.show:
            return lone_object(self.scene, view, self.show, self.show_color)
        return random_scene(self.scene, self._novel)


def _check_name(parameter_name: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise UnknownNameError(
            f'{parameter_name} "{name}" does not exist; use {", ".join(filter(None, names))}'
        )


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
        self._choice, self._view = scene_choice(self._values), -1
        self._start = self.get_clock().now()
        self._image = self._publisher(Image, 'image')
        self._info = self._publisher(CameraInfo, 'camera_info')
        self._depth = self._publisher(Image, 'depth/image')
        self._labels = self._publisher(Image, 'truth/labels')
        self._graph = self._publisher(String, 'scene')
        self.add_on_set_parameters_callback(self._check_change)
        self.create_timer(1.0 / self._values.rate, self._publish_frame)

    def destroy_node(self) -> None:
        """Release the source, then the node."""
        self._opened.close()
        super().destroy_node()

    def _publisher(self, message_type: type, topic: str) -> Any:
        return self.create_publisher(
            message_type, topic, qos.reliable(), qos_overriding_options=qos.overridable()
        )

    def _check_change(self, changes: list[Parameter]) -> SetParametersResult:
        """Reject names that do not exist, and objects that the recording does not have."""
        values = parameters.read(self, SimCameraParameters)
        new = {change.name: change.value for change in changes if hasattr(values, change.name)}
        try:
            choice = scene_choice(dataclasses.replace(values, **new))
        except UnknownNameError as error:
            return SetParametersResult(successful=False, reason=str(error))
        playable = choice.is_usual or hasattr(self._source, 'show')
        return SetParametersResult(successful=playable, reason='' if playable else NEEDS_RENDERING)

    def _publish_frame(self) -> None:
        now = self.get_clock().now()
        choice = scene_choice(parameters.read(self, SimCameraParameters))
        if choice != self._choice:
            self._choice, self._view, self._start = choice, -1, now
        time = (now - self._start).nanoseconds * 1e-9
        self._arrange(int(time / self._values.show_seconds) if choice.show else 0)
        truth = any(p.get_subscription_count() for p in (self._depth, self._labels, self._graph))
        header = Header(stamp=now.to_msg(), frame_id=self._values.frame_id)
        self._publish(self._source.observe(time, truth=truth), header)

    def _arrange(self, view: int) -> None:
        """Switch to the chosen scene, and put an object that is shown alone to its next place."""
        if view == self._view:
            return
        self._view = view
        if self._choice.is_usual:
            self._source.reset(self._choice.scene)
        else:
            cast(RenderingSource, self._source).show(self._choice.arrange(view))

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
                        scene=self._choice.scene,
                        time=observation.time,
                    )
                )
            )
        self._image.publish(array_to_image(observation.rgb, header=header, encoding='rgb8'))


def scene_choice(values: SimCameraParameters) -> SceneChoice:
    """Return the scene that the parameters choose.

    Raises:
        UnknownNameError: A category or color does not exist.
    """
    fields = (field.name for field in dataclasses.fields(SceneChoice))
    return SceneChoice(**{name: getattr(values, name) for name in fields})


def open_source(values: SimCameraParameters, *, warn: Callable[[str], object]) -> FrameSource:
    """Open the renderer or the recording, according to the parameter `source`.

    Args:
        values: Parameters of the node.
        warn: Receives the reason if `auto` falls back to the recording.

    Raises:
        RuntimeError: The source does not exist, cannot be opened or does not have the scene; the
            message says why.
    """
    if values.source not in SOURCES:
        raise RuntimeError(f'source "{values.source}" does not exist; use {", ".join(SOURCES)}')
    is_usual = scene_choice(values).is_usual
    if values.source == 'recording' and not is_usual:
        raise RuntimeError(NEEDS_RENDERING)
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
            if values.source == 'live' or not is_usual:
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
