from __future__ import annotations

import ast
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from ros_domain import is_free

from instructseg_ros.ros.share import share_folder

SHARE = share_folder()
FILES = sorted((SHARE / 'launch').glob('*.launch.py'))
OUTPUTS = {'mask', 'labels', 'confidence', 'overlay', 'points', 'depth_masked', 'target_pose',
           'detections', 'detections_3d', 'label_info', 'segmentation', 'diagnostics'}
INPUTS = {'command', 'command_request', 'camera/image', 'image'}


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The real package; our own `launch` folder answers to the same name."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    # Launch files set variables of this process.
    with patch.dict(os.environ):
        os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)
        os.environ['PATH'] = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
        try:
            from launch_ros.actions import Node  # noqa: F401

            from launch import LaunchDescription
        except ImportError:
            pytest.skip('launch and launch_ros are not installed')
        yield LaunchDescription


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


def started(file: str = 'segmentation', **arguments: str) -> dict[str, Command]:
    """What a launch file starts with arguments, by name of the node."""
    from launch_ros.actions import Node

    from launch import LaunchContext

    context = LaunchContext()
    context.launch_configurations.update(arguments)
    pending = [describe(SHARE / 'launch' / f'{file}.launch.py').generate_launch_description()]
    commands = {}
    while pending:
        entity = pending.pop(0)
        if isinstance(entity, Node):
            command = Command(entity, context)
            commands[command.name] = command
        else:
            pending[:0] = entity.visit(context) or []
    return commands


class ParameterLoader(yaml.SafeLoader):
    """Reads the files that launch_ros writes, whose lists are tagged as tuples of Python."""


ParameterLoader.add_constructor(
    'tag:yaml.org,2002:python/tuple', yaml.SafeLoader.construct_sequence)


class Command:
    """The command line that a node is started with."""

    def __init__(self, node: Any, context: Any) -> None:
        node._perform_substitutions(context)
        self.node = node
        self.name = node._Node__expanded_node_name
        self.namespace = node.expanded_node_namespace
        context.extend_locals({'ros_specific_arguments': {
            'name': f'__node:={self.name}', 'ns': f'__ns:={self.namespace}'}})
        self.parts = [''.join(each.perform(context) for each in part) for part in node.cmd[1:]]
        given = list(zip(self.parts, self.parts[1:], strict=False))
        self.files = [Path(file) for flag, file in given if flag == '--params-file']
        self.remapped = dict(
            rule.split(':=') for flag, rule in given if flag == '-r' and rule[:2] != '__')

    @property
    def parameters(self) -> dict[str, Any]:
        """What the parameter files say together, the last of them first."""
        values: dict[str, Any] = {}
        for file in self.files:
            for node in yaml.load(file.read_text(), ParameterLoader).values():
                values |= node['ros__parameters']
        return values


def test_one_camera_is_remapped_to_its_driver(launch: Any) -> None:
    node = started(camera='/camera/camera', image='color/image_raw',
                   camera_info='color/camera_info',
                   depth='aligned_depth_to_color/image_raw')['segmentation_node']
    assert node.remapped == {
        'image': '/camera/camera/color/image_raw',
        'camera_info': '/camera/camera/color/camera_info',
        'depth/image': '/camera/camera/aligned_depth_to_color/image_raw'}
    assert node.parameters['cameras'] == ['']


def test_arguments_win_over_the_parameter_file(launch: Any, tmp_path: Path) -> None:
    file = tmp_path / 'mine.yaml'
    file.write_text('/**: {ros__parameters: {model: a, autostart: true, cameras: [front], '
                    'image_transports: [compressed]}}')
    values = started(params_file=str(file), model='b', autostart='false')[
        'segmentation_node'].parameters
    assert values == {'model': 'b', 'device': 'auto', 'autostart': False, 'cameras': ['front'],
                      'image_transports': ['compressed']}


def test_several_cameras_are_parameters_of_one_node(launch: Any) -> None:
    node = started(cameras='[front, wrist]')['segmentation_node']
    assert node.parameters['cameras'] == ['front', 'wrist']
    assert not node.remapped


def test_topics_of_several_cameras_are_remapped_within_each(launch: Any) -> None:
    node = started(cameras='[front, wrist]', image='image_raw')['segmentation_node']
    assert node.remapped == {
        'front/image': 'front/image_raw', 'wrist/image': 'wrist/image_raw'}


@pytest.mark.parametrize(('argument', 'transports'), [
    ('', ['raw']), ('raw', ['raw']), ('compressed', ['compressed'])])
def test_the_transport_is_a_parameter(
        launch: Any, argument: str, transports: list[str]) -> None:
    node = started(image_transport=argument)['segmentation_node']
    assert node.parameters['image_transports'] == transports
    assert node.remapped['image'] == 'camera/image'


@pytest.mark.parametrize('argument', ['true', 'false'])
def test_a_node_that_dies_is_started_again_where_that_is_wanted(
        launch: Any, argument: str) -> None:
    node = started(respawn=argument)['segmentation_node'].node
    assert node._ExecuteLocal__respawn is (argument == 'true')


def test_the_namespace_holds_the_node_and_rviz(launch: Any) -> None:
    nodes = started(namespace='robot', rviz='true')
    assert {name: node.namespace for name, node in nodes.items()} == {
        'segmentation_node': '/robot', 'rviz2': '/robot'}


@pytest.mark.parametrize('pushed', ['', '/fleet'])
@pytest.mark.parametrize('namespace', ['', '/robot/left', 'robot'])
def test_the_log_level_is_that_of_the_node_alone(
        launch: Any, pushed: str, namespace: str) -> None:
    node = started(ros_namespace=pushed, namespace=namespace, log_level='debug')[
        'segmentation_node']
    logger = f'{node.namespace}/segmentation_node'.strip('/').replace('/', '.')
    assert f'{logger}:=debug' in node.parts


def test_rviz_shows_the_first_of_several_cameras(launch: Any) -> None:
    node = started(cameras='[front, wrist]', image='image_raw', rviz='true')['rviz2']
    assert node.remapped['camera/image'] == 'front/image_raw'
    shown = set(displayed_topics()) - {'camera/image'}
    assert {name: node.remapped[name] for name in shown} == {
        name: f'front/{name}' for name in shown}


@pytest.mark.parametrize('use', ['grasping', 'navigation'])
def test_a_launch_file_for_a_use_has_its_parameters_and_all_arguments(
        launch: Any, use: str) -> None:
    node = started(use, cameras='[front]')['segmentation_node']
    assert node.files[0] == SHARE / 'config' / f'{use}.yaml'
    assert node.parameters['cameras'] == ['front']
    descriptions = [describe(SHARE / 'launch' / f'{name}.launch.py').generate_launch_description()
                    for name in (use, 'segmentation')]
    mine, all_of_them = ({argument.name for argument in each.get_launch_arguments()}
                         for each in descriptions)
    assert mine == all_of_them


@pytest.mark.parametrize(('namespace', 'camera'), [('', '/table'), ('robot', '/robot/table')])
def test_the_demo_s_camera_is_the_one_that_the_node_watches(
        launch: Any, namespace: str, camera: str) -> None:
    nodes = started('demo', namespace=namespace, camera='table', rviz='true')
    assert set(nodes) == {'sim_camera', 'segmentation_node', 'rviz2'}
    assert nodes['sim_camera'].namespace == camera
    node = nodes['segmentation_node']
    depth = PurePosixPath(node.namespace, node.remapped['depth/image'])
    assert depth == PurePosixPath(camera, 'depth/image')


@pytest.mark.parametrize(('name', 'value'), [
    ('cameras', 'front'), ('respawn', 'perhaps'), ('autostart', '1'), ('rviz', 'yes')])
def test_an_argument_that_makes_no_sense_is_refused(
        launch: Any, name: str, value: str) -> None:
    with pytest.raises(ValueError, match=value):
        started(**{name: value})


@pytest.mark.ros
def test_the_demo_starts_becomes_active_and_ends(launch: Any, tmp_path: Path) -> None:
    ros2 = shutil.which('ros2')
    if ros2 is None:
        pytest.skip('the command ros2 is not installed')
    log = tmp_path / 'launch.log'
    domain = next(filter(is_free, random.sample(range(1, 101), 100)))
    with log.open('w') as stream:
        process = subprocess.Popen(
            [ros2, 'launch', str(SHARE / 'launch' / 'demo.launch.py'), 'source:=recording'],
            stdout=stream, stderr=stream, cwd=tmp_path, start_new_session=True, env={
                **os.environ, 'ROS_DOMAIN_ID': str(domain), 'ROS_LOG_DIR': str(tmp_path),
                'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'})
    try:
        wait_for('activate: done', log, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert log.read_text().count('process has finished cleanly') == 2, log.read_text()


def wait_for(text: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while text not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        assert 'process has died' not in log.read_text(), log.read_text()
        time.sleep(0.1)


def displayed_topics() -> set[str]:
    config = yaml.safe_load((SHARE / 'config' / 'instructseg.rviz').read_text())
    displays = config['Visualization Manager']['Displays']
    return {display['Topic']['Value'] for display in displays if 'Topic' in display}


def test_rviz_shows_only_what_is_published() -> None:
    topics = displayed_topics()
    assert topics <= OUTPUTS | INPUTS
    assert {'overlay', 'camera/image', 'mask', 'labels', 'points', 'target_pose'} <= topics


def test_foxglove_shows_only_what_is_published() -> None:
    text = (SHARE / 'config' / 'foxglove.json').read_text()
    layout = json.loads(text)
    panels = set(re.findall(r'"((?:\w|-)+!\w+)"', json.dumps(layout['layout'])))
    assert panels == set(layout['configById'])
    topics = set(re.findall(r'"(?:topic|topicName|imageTopic|topicPath)": "/([^"]+)"', text))
    assert topics <= OUTPUTS | INPUTS
    assert {'command', 'overlay', 'segmentation'} <= topics
