"""An object is shown to a camera, taught, and then found by the running segmentation node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_domain import domain  # noqa: F401
from ros_nodes import rendering, run_process  # noqa: F401
from ros_probe import COMMAND_RATE, TIMEOUT, NodeProcess, Probe
from sensor_msgs.msg import Image
from std_msgs.msg import String

from instructseg_ros.cli import teach as command
from instructseg_ros.cli.main import main
from instructseg_ros.msg import Segmentation
from instructseg_ros.ros.messages import stamp_to_nanoseconds
from instructseg_ros.streaming.encodings import decode_labels
from instructseg_ros.tabletop.world.scene_graph import from_json
from instructseg_ros.teaching import teach

pytestmark = pytest.mark.ros

NAMESPACE = '/front'
SCENE = 2  # seed of a scene with one star among other objects
LEAST_IOU = 0.6


@pytest.fixture
def run(
    rendering: None,  # noqa: F811
    run_process: Callable[..., NodeProcess],  # noqa: F811
) -> Callable[..., NodeProcess]:
    """Return a function that starts a node in the namespace of these tests."""
    return lambda module, **parameters: run_process(module, namespace=NAMESPACE, **parameters)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Teach from few backgrounds, without the report and without a lower priority."""
    monkeypatch.setattr(teach, '_SCENES', 8)
    monkeypatch.setattr('instructseg_ros.teaching.trainer._VALIDATED', 6)
    monkeypatch.setattr(command, '_print_results', lambda *arguments: None)
    monkeypatch.setattr(command.os, 'nice', lambda increment: 0)


@pytest.fixture
def probe() -> Iterator[Probe]:
    probe = Probe(NAMESPACE)
    yield probe
    probe.close()


def change_scene(probe: Probe, **parameters: Any) -> None:
    """Set parameters of the simulated camera."""
    request = SetParameters.Request(
        parameters=[
            Parameter(name, value=value).to_parameter_msg() for name, value in parameters.items()
        ]
    )
    response = probe.call(SetParameters, f'{NAMESPACE}/sim_camera/set_parameters', request)
    assert all(result.successful for result in response.results), response


def true_stars(probe: Probe) -> dict[int, np.ndarray]:
    """Collect the true masks of the star in images of `SCENE`, by their stamps in ns."""
    labels: dict[int, np.ndarray] = {}
    stars: dict[int, np.ndarray] = {}

    def keep_labels(message: Image) -> None:
        labels[stamp_to_nanoseconds(message.header.stamp)] = decode_labels(message)

    def keep_scene(message: String) -> None:
        stamp, seed = (json.loads(message.data)[each] for each in ('stamp', 'scene'))
        found = [each.label for each in from_json(message.data) if each.category == 'star']
        if found and stamp in labels and seed == SCENE:
            stars[stamp] = np.isin(labels[stamp], found)

    # The camera publishes the labels of an image before its scene.
    probe.node.create_subscription(Image, 'truth/labels', keep_labels, 10)
    probe.node.create_subscription(String, 'scene', keep_scene, 10)
    return stars


@pytest.mark.usefixtures('quick')
def test_an_object_that_is_shown_to_a_camera_is_found_in_another_scene_by_the_running_node(
    run: Callable[..., NodeProcess],
    probe: Probe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts: list[String] = []
    # The middleware keeps all steps until the probe spins.
    every = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    probe.node.create_subscription(String, '/teach/progress', texts.append, every)
    size = {'width': 320, 'height': 240}
    run('sim_camera', source='live', show='star', show_seconds=1.5, rate=5.0, **size)
    node = run('segmentation_node', device='cpu', max_command_rate=COMMAND_RATE)
    node.wait_for_output('activate: done')
    model = tmp_path / 'star'
    options = ['--count', '5', '--steps', '12', '--output', str(model), '--timeout', str(TIMEOUT)]
    assert main(['teach', 'star', '--camera', 'front', *options]) == 0

    probe.wait(lambda: any('"pixels", "done": 1.0' in each.data for each in texts))
    progress = [json.loads(each.data) for each in texts]
    stages = [*dict.fromkeys(each['stage'] for each in progress)]
    assert stages == ['capture', 'pictures', 'views', 'pixels']
    assert max(each.get('accepted', 0) for each in progress) == 5

    capsys.readouterr()
    robot = ['--ros-args', '-r', f'__ns:={NAMESPACE}']
    assert main(['use', str(model), '--timeout', str(TIMEOUT), *robot]) == 0
    assert f'is active with the model {model} (before: embedded)' in capsys.readouterr().out

    stars = true_stars(probe)
    change_scene(probe, show='', novel='star', scene=SCENE)
    probe.wait_for_node()
    probe.request(id='star', instruction='the star')

    def has_truth(result: Segmentation) -> bool:
        return stamp_to_nanoseconds(result.header.stamp) in stars

    result = probe.answer(has_truth)
    assert result.state == Segmentation.FOUND, result.reason
    truth = stars[stamp_to_nanoseconds(result.header.stamp)]
    mask = np.frombuffer(result.mask.data, np.uint8).reshape(truth.shape) > 0
    assert (mask & truth).sum() / (mask | truth).sum() >= LEAST_IOU
