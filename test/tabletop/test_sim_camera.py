from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_domain import domain  # noqa: F401
from ros_probe import TIMEOUT, NodeProcess, Probe
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from instructseg_ros.ros.messages import stamp_to_nanoseconds
from instructseg_ros.ros.transport import share_folder
from instructseg_ros.tabletop.sim_camera import CATEGORIES, NEEDS_RENDERING
from instructseg_ros.tabletop.world.catalogue import COLORS, NOVEL_CATEGORIES
from instructseg_ros.tabletop.world.mujoco_model import OpenGLError
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, from_json
from instructseg_ros.tabletop.world.simulator import Tabletop

pytestmark = pytest.mark.ros

STREAMS = {'image': Image, 'camera_info': CameraInfo, 'depth/image': Image, 'truth/labels': Image}


class Viewer(Probe):
    """A probe that listens to every output of the camera."""

    def __init__(self, namespace: str) -> None:
        super().__init__(namespace)
        self.scenes: list[String] = []
        self.subscribe(String, 'scene', self.scenes)
        self.streams: dict[str, dict[int, Image]] = {topic: {} for topic in STREAMS}
        for topic, message_type in STREAMS.items():
            self.node.create_subscription(message_type, topic, self._keep(topic), 10)

    def set(self, name: str, value: int | str) -> str:
        """Set a parameter of the camera; return the reason if it refuses."""
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        [result] = self.call(SetParameters, 'sim_camera/set_parameters', request).results
        assert result.successful == (not result.reason)
        return str(result.reason)

    def _keep(self, topic: str) -> Callable[[Image], None]:
        def keep(message: Image) -> None:
            self.streams[topic][stamp_to_nanoseconds(message.header.stamp)] = message

        return keep

    def frame(
        self, *, scene: int | None = None, shows: Callable[[SceneGraph], bool] = lambda graph: True
    ) -> tuple[dict[str, Image], String]:
        """Wait for a frame of which everything has arrived, of a given scene if any."""
        found: list[tuple[dict[str, Image], String]] = []

        def look() -> bool:
            for text in self.scenes:
                fields = json.loads(text.data)
                stamp = fields['stamp']
                complete = all(stamp in stream for stream in self.streams.values())
                wanted = scene in (None, fields['scene']) and shows(from_json(text.data))
                if complete and wanted:
                    found.append(({k: v[stamp] for k, v in self.streams.items()}, text))
            return bool(found)

        self.wait(look)
        return found[0]


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    viewer = Viewer('/camera')
    yield viewer
    viewer.close()


@pytest.fixture
def open_gl() -> None:
    """Skip where nothing can be rendered."""
    try:
        Tabletop(width=32, height=24).close()
    except OpenGLError as error:
        pytest.skip(str(error))


Run = Callable[..., NodeProcess]


@pytest.fixture
def run_camera(tmp_path: Path) -> Iterator[Run]:
    """Return a function that starts the camera; it is stopped afterwards."""
    started: list[NodeProcess] = []

    def run(*, namespace: str = '/', **parameters: Any) -> NodeProcess:
        output = tmp_path / f'camera-{len(started)}.txt'
        camera = NodeProcess('sim_camera', output, parameters=parameters, namespace=namespace)
        started.append(camera)
        return camera

    yield run
    for camera in started:
        if camera.process.poll() is None:
            camera.stop()


def test_the_recording_is_played_with_one_header_for_everything_of_a_frame(
    run_camera: Run, viewer: Viewer
) -> None:
    node = run_camera(namespace='/camera', source='recording', rate=5.0)
    frame, scene = viewer.frame()
    assert {message.header.frame_id for message in frame.values()} == {'camera_optical_frame'}
    assert len({(message.height, message.width) for message in frame.values()}) == 1
    labels = np.frombuffer(frame['truth/labels'].data, np.uint8)
    assert {obj.label for obj in from_json(scene.data)} <= set(labels.tolist())
    depth = np.frombuffer(frame['depth/image'].data, np.float32)
    assert ((depth > 0.1) & (depth < 20.0)).all()
    assert node.stop() == 0


def test_the_camera_publishes_no_topic_that_the_segmentation_node_publishes(
    run_camera: Run, viewer: Viewer
) -> None:
    run_camera(namespace='/camera', source='recording', rate=5.0)
    viewer.frame()
    mine = {
        topic
        for topic, _ in viewer.node.get_publisher_names_and_types_by_node('sim_camera', '/camera')
    }
    assert {f'/camera/{topic}' for topic in (*STREAMS, 'scene')} <= mine
    policy = ElementTree.parse(share_folder() / 'config' / 'sros2' / 'policy.xml')
    results = {topic.text for topic in policy.findall('.//topics[@publish]/topic')}
    assert 'labels' in results
    assert not mine & {f'/camera/{topic}' for topic in results}


def test_frames_come_no_faster_than_was_asked_for(run_camera: Run, viewer: Viewer) -> None:
    run_camera(namespace='/camera', source='recording', rate=4.0)
    viewer.wait(lambda: len(viewer.streams['image']) >= 9)
    stamps = sorted(viewer.streams['image'])[:9]
    assert stamps[-1] - stamps[0] > 0.7 * 8 * 0.25e9


@pytest.mark.usefixtures('open_gl')
def test_setting_the_scene_lays_another_table(run_camera: Run, viewer: Viewer) -> None:
    run_camera(namespace='/camera', source='live', rate=5.0, width=160, height=120, scene=3)
    frame, _ = viewer.frame(scene=3)
    assert (frame['image'].width, frame['image'].height) == (160, 120)
    assert viewer.set('scene', 4) == ''
    viewer.frame(scene=4)


def test_an_unknown_source_ends_the_camera_with_one_line(run_camera: Run) -> None:
    node = run_camera(source='dreams')
    assert node.process.wait(TIMEOUT) == 1
    assert node.output() == 'error: source "dreams" does not exist; use auto, live, recording\n'


@pytest.mark.usefixtures('open_gl')
def test_an_object_is_shown_alone_at_one_place_after_the_other(
    run_camera: Run, viewer: Viewer
) -> None:
    run_camera(
        namespace='/camera',
        source='live',
        rate=5.0,
        width=160,
        height=120,
        show='star',
        show_color='blue',
        show_seconds=1.0,
    )
    frame, scene = viewer.frame()
    [star] = from_json(scene.data)
    assert (star.category, star.color) == ('star', 'blue')
    assert set(frame['truth/labels'].data) == {0, star.label}
    viewer.frame(shows=lambda graph: bool(graph) and graph[0].position != star.position)


@pytest.mark.usefixtures('open_gl')
def test_novel_objects_come_into_the_usual_scene_while_the_camera_runs(
    run_camera: Run, viewer: Viewer
) -> None:
    run_camera(namespace='/camera', source='live', rate=5.0, width=160, height=120, show='mug')
    viewer.frame(shows=lambda graph: [obj.category for obj in graph] == ['mug'])
    assert viewer.set('show', '') == ''
    viewer.frame(shows=lambda graph: len(graph) > 1)
    assert viewer.set('novel', 'star, stapler') == ''
    viewer.frame(shows=lambda graph: bool({obj.category for obj in graph} & {'star', 'stapler'}))
    assert viewer.set('show', 'dreams').startswith('show "dreams" does not exist; use mug, ')


def test_a_recording_refuses_to_show_an_object(run_camera: Run, viewer: Viewer) -> None:
    run_camera(namespace='/camera', source='recording', rate=5.0)
    viewer.frame()
    for name in ('show', 'novel'):
        assert 'use source:=live, which renders with MuJoCo' in viewer.set(name, 'star')
    assert viewer.set('scene', 1) == ''


@pytest.mark.parametrize(
    ('parameters', 'error'),
    [
        ({'show': 'dreams'}, f'show "dreams" does not exist; use {", ".join(CATEGORIES)}'),
        (
            {'show': 'star', 'show_color': 'dark'},
            f'show_color "dark" does not exist; use {", ".join(COLORS)}',
        ),
        ({'novel': 'star,mug'}, f'novel "mug" does not exist; use {", ".join(NOVEL_CATEGORIES)}'),
        ({'source': 'recording', 'show': 'star'}, NEEDS_RENDERING),
    ],
    ids=['category', 'color', 'novel', 'recording'],
)
def test_an_object_that_cannot_be_shown_ends_the_camera_with_the_choice(
    run_camera: Run, parameters: dict[str, str], error: str
) -> None:
    node = run_camera(**parameters)
    assert node.process.wait(TIMEOUT) == 1
    assert node.output() == f'error: {error}\n'
