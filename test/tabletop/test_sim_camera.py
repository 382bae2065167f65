from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from ros_domain import domain  # noqa: F401
from ros_probe import TIMEOUT, NodeProcess, Probe
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from instructseg_ros.ros.messages import stamp_to_nanoseconds
from instructseg_ros.ros.transport import share_folder
from instructseg_ros.tabletop.world.mujoco_model import OpenGLError
from instructseg_ros.tabletop.world.scene_graph import from_json
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

    def _keep(self, topic: str) -> Callable[[Image], None]:
        def keep(message: Image) -> None:
            self.streams[topic][stamp_to_nanoseconds(message.header.stamp)] = message

        return keep

    def frame(self, *, scene: int | None = None) -> tuple[dict[str, Image], String]:
        """Wait for a frame of which everything has arrived, of a given scene if any."""
        found: list[tuple[dict[str, Image], String]] = []

        def look() -> bool:
            for text in self.scenes:
                fields = json.loads(text.data)
                stamp = fields['stamp']
                if all(stamp in stream for stream in self.streams.values()) and scene in (
                    None,
                    fields['scene'],
                ):
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
    client = viewer.node.create_client(SetParameters, 'sim_camera/set_parameters')
    viewer.wait(client.service_is_ready)
    value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=4)
    client.call_async(SetParameters.Request(parameters=[Parameter(name='scene', value=value)]))
    viewer.frame(scene=4)


def test_an_unknown_source_ends_the_camera_with_one_line(run_camera: Run) -> None:
    node = run_camera(source='dreams')
    assert node.process.wait(TIMEOUT) == 1
    assert node.output() == 'error: source "dreams" does not exist; use auto, live, recording\n'
