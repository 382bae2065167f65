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
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from ros_domain import is_free

from instructseg_ros.ros.launching import existing_file, own_parameters
from instructseg_ros.ros.transport import (
    CHOICE_VARIABLES,
    localhost_setting,
    profile_environment,
    share_folder,
)

SHARE = share_folder()
FILES = sorted((SHARE / 'launch').glob('*.launch.py'))
OUTPUTS = {
    'mask',
    'labels',
    'confidence',
    'overlay',
    'points',
    'depth_masked',
    'target_pose',
    'detections',
    'detections_3d',
    'label_info',
    'segmentation',
    'diagnostics',
}
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
def test_a_launch_file_defines_the_function_that_launch_calls(path: Path) -> None:
    tree = ast.parse(path.read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert 'generate_launch_description' in functions


def test_no_default_of_an_argument_wins_over_the_parameter_file() -> None:
    source = (SHARE / 'launch' / 'segmentation.launch.py').read_text()
    # Without the imports, because `launch` need not be installed.
    [function] = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == 'arguments'
    ]
    module: dict[str, Any] = {'CONFIG': SHARE / 'config'}
    exec(compile(ast.Module([function], []), 'segmentation.launch.py', 'exec'), module)
    defaults = {name: default for name, (default, _) in module['arguments']().items()}
    assert own_parameters(defaults) == {}
    assert existing_file('params_file', defaults['params_file'])


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_argument_of_a_launch_file_is_described(path: Path, launch: Any) -> None:
    description = describe(path).generate_launch_description()
    assert isinstance(description, launch)
    arguments = description.get_launch_arguments()
    assert arguments
    for argument in arguments:
        assert argument.description, argument.name


def started(file: str = 'segmentation', **arguments: str) -> dict[str, Command]:
    """Nodes that a launch file starts with some arguments, by name."""
    from launch import LaunchContext

    context = LaunchContext()
    context.launch_configurations.update(arguments)
    description = describe(SHARE / 'launch' / f'{file}.launch.py').generate_launch_description()
    return {command.name: command for command in commands_of(description, context)}


def commands_of(description: Any, context: Any) -> list[Command]:
    """The processes of a description, in order."""
    from launch_ros.actions import Node

    pending = [description]
    commands = []
    while pending:
        entity = pending.pop(0)
        if isinstance(entity, Node):
            commands.append(Command(entity, context))
        else:
            pending[:0] = entity.visit(context) or []
    return commands


class ParameterLoader(yaml.SafeLoader):
    """Reads the files that launch_ros writes, whose lists are tagged as tuples of Python."""


ParameterLoader.add_constructor(
    'tag:yaml.org,2002:python/tuple', yaml.SafeLoader.construct_sequence
)


class Command:
    """The command line that a node is started with."""

    def __init__(self, node: Any, context: Any) -> None:
        node._perform_substitutions(context)
        self.node = node
        self.name = node._Node__expanded_node_name
        self.namespace = node.expanded_node_namespace
        context.extend_locals(
            {
                'ros_specific_arguments': {
                    'name': f'__node:={self.name}',
                    'ns': f'__ns:={self.namespace}',
                }
            }
        )
        self.parts = [''.join(each.perform(context) for each in part) for part in node.cmd[1:]]
        given = list(zip(self.parts, self.parts[1:], strict=False))
        self.files = [Path(file) for flag, file in given if flag == '--params-file']
        self.remapped = dict(
            rule.split(':=') for flag, rule in given if flag == '-r' and rule[:2] != '__'
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the combined content of the parameter files; later files override earlier ones."""
        values: dict[str, Any] = {}
        for file in self.files:
            for node in yaml.load(file.read_text(), ParameterLoader).values():
                values |= node['ros__parameters']
        return values


def test_one_camera_is_remapped_to_its_driver(launch: Any) -> None:
    node = started(
        camera='/camera/camera',
        image='color/image_raw',
        camera_info='color/camera_info',
        depth='aligned_depth_to_color/image_raw',
    )['segmentation_node']
    assert node.remapped == {
        'image': '/camera/camera/color/image_raw',
        'camera_info': '/camera/camera/color/camera_info',
        'depth/image': '/camera/camera/aligned_depth_to_color/image_raw',
    }
    assert node.parameters['cameras'] == ['']


def test_arguments_win_over_the_parameter_file(launch: Any, tmp_path: Path) -> None:
    file = tmp_path / 'mine.yaml'
    file.write_text(
        '/**: {ros__parameters: {model: a, autostart: true, cameras: [front], '
        'image_transports: [compressed]}}'
    )
    values = started(params_file=str(file), model='b', autostart='false')[
        'segmentation_node'
    ].parameters
    assert values == {
        'model': 'b',
        'autostart': False,
        'cameras': ['front'],
        'image_transports': ['compressed'],
    }


@pytest.mark.parametrize('file', ['segmentation', 'grasping', 'navigation', 'demo'])
def test_the_parameter_file_wins_over_defaults_of_arguments(
    launch: Any, tmp_path: Path, file: str
) -> None:
    mine = tmp_path / 'mine.yaml'
    values = {'model': '/models/mine', 'device': 'cuda:1', 'autostart': False, 'use_sim_time': True}
    mine.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    assert started(file, params_file=str(mine))['segmentation_node'].parameters == values


def test_the_time_of_a_simulator_is_an_argument(launch: Any) -> None:
    nodes = started('demo', use_sim_time='true', rviz='true')
    assert [node.parameters['use_sim_time'] for node in nodes.values()] == [True, True, True]
    assert all('use_sim_time' not in node.parameters for node in started('demo').values())


@pytest.mark.parametrize('file', ['segmentation', 'grasping', 'demo'])
def test_a_missing_parameter_file_is_an_error_that_names_it(
    launch: Any, tmp_path: Path, file: str
) -> None:
    missing = tmp_path / 'missing.yaml'
    with pytest.raises(FileNotFoundError, match=f'params_file "{missing}" is not a file'):
        started(file, params_file=str(missing))


def test_a_parameter_file_is_found_in_the_home_folder(
    launch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'mine.yaml').write_text('/**: {ros__parameters: {model: a}}')
    node = started(params_file='~/mine.yaml')['segmentation_node']
    assert node.files[0] == tmp_path / 'mine.yaml'


def both_uses() -> Any:
    """A description that includes grasping and then navigation."""
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from launch import LaunchDescription

    grasping, navigation = (
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(SHARE / 'launch' / f'{use}.launch.py'))
        )
        for use in ('grasping', 'navigation')
    )
    return LaunchDescription([grasping, navigation])


def test_the_arguments_of_an_included_launch_file_do_not_reach_the_next_one(launch: Any) -> None:
    from launch import LaunchContext

    context = LaunchContext()
    first, second = commands_of(both_uses(), context)
    assert first.files[0] == SHARE / 'config' / 'grasping.yaml'
    assert second.files[0] == SHARE / 'config' / 'navigation.yaml'
    assert not context.launch_configurations


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_a_launch_file_leaves_no_argument_behind(path: Path, launch: Any) -> None:
    from launch import LaunchContext

    context = LaunchContext()
    commands_of(describe(path).generate_launch_description(), context)
    assert not context.launch_configurations


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_a_driver_that_is_started_after_a_launch_file_has_the_transport(
    path: Path, launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from launch import LaunchContext

    for variable in CHOICE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    expected = profile_environment()
    context = LaunchContext()
    commands_of(describe(path).generate_launch_description(), context)
    assert expected.items() <= context.environment.items()


def test_several_cameras_are_parameters_of_one_node(launch: Any) -> None:
    node = started(cameras='[front, wrist]')['segmentation_node']
    assert node.parameters['cameras'] == ['front', 'wrist']
    assert not node.remapped


def test_topics_of_several_cameras_are_remapped_within_each(launch: Any) -> None:
    node = started(cameras='[front, wrist]', image='image_raw')['segmentation_node']
    assert node.remapped == {'front/image': 'front/image_raw', 'wrist/image': 'wrist/image_raw'}


@pytest.mark.parametrize(
    ('argument', 'transports'), [('', ['raw']), ('raw', ['raw']), ('compressed', ['compressed'])]
)
def test_the_transport_is_a_parameter(launch: Any, argument: str, transports: list[str]) -> None:
    node = started(image_transport=argument)['segmentation_node']
    assert node.parameters['image_transports'] == transports
    assert node.remapped['image'] == 'camera/image'


@pytest.mark.parametrize('argument', ['true', 'false'])
def test_a_node_that_dies_is_restarted_with_respawn(launch: Any, argument: str) -> None:
    node = started(respawn=argument)['segmentation_node'].node
    assert node._ExecuteLocal__respawn is (argument == 'true')


def test_the_namespace_holds_the_node_and_rviz(launch: Any) -> None:
    nodes = started(namespace='robot', rviz='true')
    assert {name: node.namespace for name, node in nodes.items()} == {
        'segmentation_node': '/robot',
        'rviz2': '/robot',
    }


@pytest.mark.parametrize('pushed', ['', '/fleet'])
@pytest.mark.parametrize('namespace', ['', '/robot/left', 'robot'])
def test_the_log_level_is_that_of_the_node_alone(launch: Any, pushed: str, namespace: str) -> None:
    node = started(ros_namespace=pushed, namespace=namespace, log_level='debug')[
        'segmentation_node'
    ]
    logger = f'{node.namespace}/segmentation_node'.strip('/').replace('/', '.')
    assert f'{logger}:=debug' in node.parts


def test_rviz_shows_the_first_of_several_cameras(launch: Any) -> None:
    node = started(cameras='[front, wrist]', image='image_raw', rviz='true')['rviz2']
    assert node.remapped['camera/image'] == 'front/image_raw'
    shown = set(displayed_topics()) - {'camera/image'}
    assert {name: node.remapped[name] for name in shown} == {
        name: f'front/{name}' for name in shown
    }


@pytest.mark.parametrize('use', ['grasping', 'navigation'])
def test_a_launch_file_for_a_use_has_its_parameters_and_all_arguments(
    launch: Any, use: str
) -> None:
    node = started(use, cameras='[front]')['segmentation_node']
    assert node.files[0] == SHARE / 'config' / f'{use}.yaml'
    assert node.parameters['cameras'] == ['front']
    descriptions = [
        describe(SHARE / 'launch' / f'{name}.launch.py').generate_launch_description()
        for name in (use, 'segmentation')
    ]
    mine, all_of_them = (
        {argument.name for argument in each.get_launch_arguments()} for each in descriptions
    )
    assert mine == all_of_them


@pytest.mark.parametrize(('namespace', 'camera'), [('', '/table'), ('robot', '/robot/table')])
def test_the_demo_s_camera_is_the_one_that_the_node_watches(
    launch: Any, namespace: str, camera: str
) -> None:
    nodes = started('demo', namespace=namespace, camera='table', rviz='true')
    assert set(nodes) == {'sim_camera', 'segmentation_node', 'rviz2'}
    assert nodes['sim_camera'].namespace == camera
    node = nodes['segmentation_node']
    depth = PurePosixPath(node.namespace, node.remapped['depth/image'])
    assert depth == PurePosixPath(camera, 'depth/image')


def test_cameras_that_are_no_list_are_refused(launch: Any) -> None:
    with pytest.raises(ValueError, match='front'):
        started(cameras='front')


@pytest.mark.parametrize(
    ('file', 'name', 'value'),
    [
        ('segmentation', 'respawn', 'perhaps'),
        ('segmentation', 'autostart', '1'),
        ('segmentation', 'rviz', 'yes'),
        ('segmentation', 'use_sim_time', 'on'),
        ('segmentation', 'image_transport', 'theora'),
        ('segmentation', 'log_level', 'loud'),
        ('navigation', 'log_level', 'loud'),
        ('demo', 'source', 'dreams'),
        ('demo', 'rviz', 'yes'),
    ],
)
def test_an_argument_that_is_none_of_its_choices_is_refused_and_they_are_named(
    launch: Any, file: str, name: str, value: str
) -> None:
    with pytest.raises(RuntimeError, match=rf'"{name}" provided value "{value}".*\[.*\]'):
        started(file, **{name: value})


@pytest.fixture
def ros2_launch(launch: Any, tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    """Return a function that runs `ros2 launch`, in a domain of its own; all end afterwards."""
    ros2 = shutil.which('ros2')
    if ros2 is None:
        pytest.skip('the command ros2 is not installed')
    domain = next(filter(is_free, random.sample(range(1, 101), 100)))
    environment = {
        **os.environ,
        'ROS_DOMAIN_ID': str(domain),
        'ROS_LOG_DIR': str(tmp_path),
        **dict([localhost_setting()]),
    }
    running: list[Launched] = []

    def run(file: Path, *arguments: str) -> Launched:
        running.append(
            Launched(
                [ros2, 'launch', str(file), *arguments],
                tmp_path / f'launch-{len(running)}.log',
                environment,
            )
        )
        return running[-1]

    yield run
    for each in running:
        each.kill()


class Launched:
    """A running `ros2 launch`."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self._log = log
        self.environment = environment
        with log.open('w') as stream:
            self.process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=stream,
                cwd=log.parent,
                start_new_session=True,
                env=environment,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str, *, times: int = 1) -> None:
        deadline = time.monotonic() + 300
        while self.output.count(text) < times:
            assert self.process.poll() is None and time.monotonic() < deadline, self.output
            assert 'process has died' not in self.output, self.output
            time.sleep(0.1)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.mark.ros
def test_the_demo_starts_becomes_active_and_ends(ros2_launch: Callable[..., Launched]) -> None:
    demo = ros2_launch(SHARE / 'launch' / 'demo.launch.py', 'source:=recording')
    demo.wait_for('activate: done')
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(120) == 0, demo.output
    assert demo.output.count('process has finished cleanly') == 2, demo.output


@pytest.mark.ros
def test_ros2_launch_ends_at_a_parameter_file_that_is_not_there(
    ros2_launch: Callable[..., Launched],
) -> None:
    launched = ros2_launch(SHARE / 'launch' / 'segmentation.launch.py', 'params_file:=nowhere.yaml')
    assert launched.process.wait(120) == 1
    assert 'params_file "nowhere.yaml" is not a file' in launched.output


BOTH_USES = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace


def use(name):
    source = PythonLaunchDescriptionSource(f'{folder}/{name}.launch.py')
    return IncludeLaunchDescription(source)


def generate_launch_description():
    return LaunchDescription([use('grasping'), PushRosNamespace('second'), use('navigation')])
"""


@pytest.mark.ros
def test_two_launch_files_of_one_description_start_nodes_with_their_own_parameters(
    ros2_launch: Callable[..., Launched], tmp_path: Path
) -> None:
    mine = tmp_path / 'both.launch.py'
    mine.write_text(f'folder = {str(SHARE / "launch")!r}\n{BOTH_USES}')
    launched = ros2_launch(mine, 'model:=/nowhere', 'device:=cpu')
    launched.wait_for('cannot configure', times=2)

    def parameter(node: str, name: str) -> str:
        asked = subprocess.run(
            [sys.executable, '-c', ASK_FOR_PARAMETER, node, name],
            env=launched.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        return asked.stdout.strip()

    assert parameter('/segmentation_node', 'target_frame') == 'base_link'
    assert parameter('/second/segmentation_node', 'target_frame') == ''
    assert parameter('/second/segmentation_node', 'label_encoding') == 'mono8'
    assert parameter('/second/segmentation_node', 'model') == '/nowhere'


ASK_FOR_PARAMETER = """
import sys
import rclpy
from rcl_interfaces.srv import GetParameters

rclpy.init()
node = rclpy.create_node('asker')
client = node.create_client(GetParameters, f'{sys.argv[1]}/get_parameters')
client.wait_for_service()
answer = client.call_async(GetParameters.Request(names=[sys.argv[2]]))
rclpy.spin_until_future_complete(node, answer)
print(answer.result().values[0].string_value)
"""


def displayed_topics() -> set[str]:
    config = yaml.safe_load((SHARE / 'config' / 'instructseg.rviz').read_text())
    displays = config['Visualization Manager']['Displays']
    return {display['Topic']['Value'] for display in displays if 'Topic' in display}


def test_rviz_shows_only_published_topics() -> None:
    topics = displayed_topics()
    assert topics <= OUTPUTS | INPUTS
    assert {'overlay', 'camera/image', 'mask', 'labels', 'points', 'target_pose'} <= topics


def test_foxglove_shows_only_published_topics() -> None:
    text = (SHARE / 'config' / 'foxglove.json').read_text()
    layout = json.loads(text)
    panels = set(re.findall(r'"((?:\w|-)+!\w+)"', json.dumps(layout['layout'])))
    assert panels == set(layout['configById'])
    topics = set(re.findall(r'"(?:topic|topicName|imageTopic|topicPath)": "/([^"]+)"', text))
    assert topics <= OUTPUTS | INPUTS
    assert {'command', 'overlay', 'segmentation'} <= topics
