from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ros_probe import NodeProcess, Probe
from sensor_msgs.msg import Image
from std_msgs.msg import String

from instructseg_ros.ros import qos, transport
from instructseg_ros.ros.messages import stamp_to_nanoseconds
from instructseg_ros.ros.transport import (
    CHOICE_VARIABLES,
    DOMAINS,
    choose_environment,
    fast_dds_variable,
    profile_environment,
    share_folder,
)


def test_the_profile_is_named_as_the_installed_version_of_fast_dds_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, 'environ', {})
    environment = profile_environment()
    assert list(environment.values()) == [str(share_folder() / 'config' / 'fastdds.xml')]
    assert set(environment) < set(CHOICE_VARIABLES)


@pytest.mark.parametrize('variable', CHOICE_VARIABLES)
def test_the_transport_that_the_user_has_chosen_stays(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setattr(os, 'environ', {variable: 'mine'})
    assert profile_environment() == {}


@pytest.fixture
def nothing_chosen(domain: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes start without a variable that chooses a profile or a transport."""
    for variable in CHOICE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.ros
@pytest.mark.usefixtures('nothing_chosen')
def test_a_pair_started_by_hand_loses_almost_no_image(
    run_process: Callable[..., NodeProcess], tiny_model_dir: Path
) -> None:
    camera = run_process('sim_camera', namespace='/pair', source='recording', rate=5.0)
    node = run_process(
        'segmentation_node',
        namespace='/pair',
        model=tiny_model_dir,
        device='cpu',
        max_age=60.0,
        reference_frames=0,
    )
    node.wait_for_output('activate: done')
    probe = Probe('/pair')
    scenes: list[String] = []
    images: list[Image] = []
    probe.subscribe(String, 'scene', scenes)
    # Nothing is sent again to it, and its queue is long: it lacks what the transport has lost,
    # and no image that it or the node was late for.
    probe.node.create_subscription(Image, 'image', images.append, qos.sensor(depth=1000))
    probe.wait_for_node()
    probe.send_text('the red mug')
    probe.wait(lambda: images)
    scenes.clear()
    probe.wait(lambda: len(scenes) >= 20)
    last = len(scenes)
    probe.wait(lambda: len(scenes) > last)  # the image of a scene may come after it
    sent = {json.loads(scene.data)['stamp'] for scene in scenes[:last]}
    probe.answer()
    probe.close()
    came = {stamp_to_nanoseconds(image.header.stamp) for image in images}
    assert len(sent & came) > 0.8 * len(sent)
    assert 'deprecated' not in camera.output() + node.output()


SEND = "send('', timeout=0.0)"
CLIENT = 'SegmentationClient().close()'


@pytest.mark.ros
@pytest.mark.usefixtures('nothing_chosen')
@pytest.mark.parametrize('action', [SEND, CLIENT])
@pytest.mark.parametrize('chosen', ['', *CHOICE_VARIABLES])
def test_clients_set_the_profile_unless_one_is_chosen(
    monkeypatch: pytest.MonkeyPatch, action: str, chosen: str
) -> None:
    mine = str(share_folder() / 'config' / 'fastdds.xml')
    expected = {fast_dds_variable(): mine}
    if chosen:
        value = 'DEFAULT' if chosen.endswith('TRANSPORTS') else mine
        monkeypatch.setenv(chosen, value)
        expected = {chosen: value}
    code = (
        'import os\nfrom instructseg_ros.ros.client import SegmentationClient\n'
        'from instructseg_ros.ros.send_command import send\n'
        f'{action}\nprint(dict(os.environ))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        env=dict(os.environ),
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    variables = ast.literal_eval(done.stdout.splitlines()[-1])
    assert {name: variables[name] for name in CHOICE_VARIABLES if name in variables} == expected
    assert chosen or 'deprecated' not in done.stderr


@pytest.mark.parametrize(
    ('rclpy', 'setting'),
    [
        ('3.3.16', ('ROS_LOCALHOST_ONLY', '1')),  # Humble
        ('7.1.4', ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')),  # Jazzy
    ],
)
def test_ros_stays_on_this_machine_unless_a_domain_is_chosen(
    monkeypatch: pytest.MonkeyPatch, rclpy: str, setting: tuple[str, str]
) -> None:
    monkeypatch.setattr(transport, 'version', lambda name: rclpy)
    monkeypatch.setattr(os, 'environ', {})
    choose_environment()
    assert setting in os.environ.items()
    assert int(os.environ['ROS_DOMAIN_ID']) in DOMAINS
    monkeypatch.setattr(os, 'environ', {'ROS_DOMAIN_ID': '7', 'FASTDDS_BUILTIN_TRANSPORTS': 'SHM'})
    choose_environment()
    assert dict(os.environ) == {'ROS_DOMAIN_ID': '7', 'FASTDDS_BUILTIN_TRANSPORTS': 'SHM'}


def test_configuration_and_launch_files_are_found() -> None:
    folder = share_folder()
    for name in (
        'config/fastdds.xml',
        'config/segmentation.yaml',
        'config/instructseg.rviz',
        'launch/segmentation.launch.py',
        'launch/demo.launch.py',
    ):
        assert (folder / name).is_file(), name


def test_ros_starts_in_one_place_which_chooses_the_transport() -> None:
    root = Path(__file__).resolve().parents[2]
    files = [*(root / 'instructseg_ros').rglob('*.py'), *(root / 'scripts').glob('*.py')]
    starts = {file.name for file in files if 'rclpy.init(' in file.read_text()}
    assert starts == {'node_runner.py'}
