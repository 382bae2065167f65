from __future__ import annotations

import ast
import importlib.util
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from instructseg_ros.ros.share import share_folder

SHARE = share_folder()
FILES = sorted((SHARE / 'launch').glob('*.launch.py'))
OUTPUTS = {'mask', 'labels', 'confidence', 'overlay', 'points', 'depth_masked', 'target_pose',
           'detections', 'detections_3d', 'label_info', 'segmentation', 'diagnostics'}
INPUTS = {'command', 'command_request', 'camera/image', 'image'}


@pytest.fixture
def launch() -> Any:
    """The real package; our own `launch` folder answers to the same name."""
    try:
        from launch_ros.actions import Node  # noqa: F401

        from launch import LaunchDescription
    except ImportError:
        pytest.skip('launch and launch_ros are not installed')
    return LaunchDescription


def describe(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem.replace('.', '_'), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_a_launch_file_defines_what_launch_calls(path: Path) -> None:
    tree = ast.parse(path.read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert 'generate_launch_description' in functions


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_argument_of_a_launch_file_is_described(path: Path, launch: Any) -> None:
    description = describe(path).generate_launch_description()
    assert isinstance(description, launch)
    arguments = description.get_launch_arguments()
    assert arguments
    for argument in arguments:
        assert argument.description, argument.name


def command_line(launch: Any, **arguments: str) -> list[str]:
    """The node's command line, as segmentation.launch.py makes it of arguments."""
    from launch import LaunchContext

    module = describe(SHARE / 'launch' / 'segmentation.launch.py')
    context = LaunchContext()
    for argument in module.generate_launch_description().get_launch_arguments():
        argument.execute(context)
    context.launch_configurations.update(arguments)
    [node] = module.start_node(context)
    node._perform_substitutions(context)
    return [part if isinstance(part, str) else ''.join(each.perform(context) for each in part)
            for part in node.cmd]


def given_parameters(command: list[str]) -> dict[str, Any]:
    """What the parameter files of a command line say together."""
    values: dict[str, Any] = {}
    for flag, file in zip(command, command[1:], strict=False):
        if flag == '--params-file':
            for node in yaml.safe_load(Path(file).read_text()).values():
                values |= node['ros__parameters']
    return values


def test_one_camera_is_remapped_to_its_driver(launch: Any) -> None:
    command = command_line(launch, camera='/camera/color', image='image_raw',
                           depth='../aligned/image_raw')
    assert 'image:=/camera/color/image_raw' in command
    assert 'camera_info:=/camera/color/camera_info' in command
    assert 'depth/image:=/camera/color/../aligned/image_raw' in command
    values = given_parameters(command)
    assert (values['cameras'], values['model'], values['autostart']) == (
        [''], 'embedded', True)


def test_several_cameras_are_parameters_of_one_node(launch: Any) -> None:
    command = command_line(launch, cameras='[front, wrist]', image_transport='compressed',
                           namespace='robot')
    values = given_parameters(command)
    assert (values['cameras'], values['image_transports']) == (
        ['front', 'wrist'], ['compressed'])
    assert '__ns:=/robot' in command
    assert not [part for part in command if part.startswith('image:=')]


@pytest.mark.parametrize('use', ['grasping', 'navigation'])
def test_a_launch_file_for_a_use_has_its_parameters(launch: Any, use: str) -> None:
    arguments = describe(
        SHARE / 'launch' / f'{use}.launch.py').generate_launch_description()
    names = [argument.name for argument in arguments.get_launch_arguments()]
    assert {'params_file', 'camera', 'cameras'} <= set(names)
    command = command_line(launch, params_file=str(SHARE / 'config' / f'{use}.yaml'))
    assert given_parameters(command)['model'] == 'embedded'


@pytest.mark.ros
def test_the_demo_starts_becomes_active_and_ends(launch: Any, tmp_path: Path) -> None:
    code = ('import sys; from launch import LaunchDescription, LaunchService; '
            'from launch.actions import IncludeLaunchDescription as I; '
            'from launch.launch_description_sources import PythonLaunchDescriptionSource as S; '
            's = LaunchService(); '
            's.include_launch_description(LaunchDescription([I(S(sys.argv[1]), '
            "launch_arguments=[('source', 'recording')])])); sys.exit(s.run())")
    log = tmp_path / 'launch.log'
    with log.open('w') as stream:
        process = subprocess.Popen(
            [sys.executable, '-c', code, str(SHARE / 'launch' / 'demo.launch.py')],
            stdout=stream, stderr=stream, cwd=tmp_path, env={
                **os.environ, 'ROS_DOMAIN_ID': str(random.randint(1, 100)),
                'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'ROS_LOG_DIR': str(tmp_path)})
    deadline = time.monotonic() + 120
    while 'activate: done' not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.2)
        assert process.poll() is None, log.read_text()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, log.read_text()
    assert 'activate: done' in log.read_text()
    assert log.read_text().count('process has finished cleanly') == 2


def test_rviz_shows_only_what_is_published() -> None:
    config = yaml.safe_load((SHARE / 'config' / 'instructseg.rviz').read_text())
    displays = config['Visualization Manager']['Displays']
    topics = {display['Topic']['Value'] for display in displays if 'Topic' in display}
    assert topics <= OUTPUTS | INPUTS
    assert {'overlay', 'mask', 'points', 'target_pose'} <= topics


def test_foxglove_shows_only_what_is_published() -> None:
    text = (SHARE / 'config' / 'foxglove.json').read_text()
    layout = json.loads(text)
    panels = set(re.findall(r'"((?:\w|-)+!\w+)"', json.dumps(layout['layout'])))
    assert panels == set(layout['configById'])
    topics = set(re.findall(r'"(?:topic|topicName|imageTopic|topicPath)": "/([^"]+)"', text))
    assert topics <= OUTPUTS | INPUTS
    assert {'command', 'overlay', 'segmentation'} <= topics
