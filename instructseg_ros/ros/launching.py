"""Starts nodes: functions that the launch files share, and a node as a child process.

The package `launch` is imported only by the functions that need it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import yaml

from instructseg_ros.ros.inputs import camera_topic
from instructseg_ros.ros.transport import profile_environment, share_folder

if TYPE_CHECKING:
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_entity import LaunchDescriptionEntity

TRUE_OR_FALSE: Final = ('true', 'false', 'True', 'False')
END_TIMEOUT: Final = 20.0  # s


def camera_names(text: str) -> list[str]:
    """Return the names in a launch argument such as `[front, wrist]`; [] for an empty one.

    Raises:
        ValueError: The argument is not a list of names.
    """
    names = yaml.safe_load(text) if text.strip() else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'cameras must be a list such as "[front, wrist]", not "{text}"')
    return names


def camera_remappings(
    cameras: Sequence[str], namespace: str, topics: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return the remappings from the node's camera topics to those of the drivers.

    Args:
        cameras: Names of the cameras, each also the namespace of its driver; [] for one camera.
        namespace: Namespace of the driver of a single camera; unused if `cameras` is not empty.
        topics: The node's name of a topic -> the driver's name, relative to the driver's
            namespace, or absolute if it begins with a slash.

    Raises:
        ValueError: Several cameras would share a topic.
    """
    if not cameras:
        return [(ours, driver_topic(namespace, theirs)) for ours, theirs in topics.items()]
    if len(cameras) > 1:
        for topic in topics.values():
            if topic.startswith('/'):
                raise ValueError(
                    f'{topic} would be a topic of every camera; give a name relative to their '
                    f'namespaces, without the first slash'
                )
    return [
        (camera_topic(camera, ours), driver_topic(camera, theirs))
        for camera in cameras
        for ours, theirs in topics.items()
        if ours != theirs
    ]


def driver_topic(namespace: str, topic: str) -> str:
    """Return a driver's topic, in the namespace unless it is absolute."""
    return topic if topic.startswith('/') else f'{namespace.rstrip("/")}/{topic}'


def logger_name(pushed: str, namespace: str, node: str) -> str:
    """Return the name of a node's logger.

    Args:
        pushed: Namespace of the group that includes the launch file.
        namespace: Namespace of the node, relative to the group or absolute.
        node: Name of the node.
    """
    return '.'.join(PurePosixPath('/', pushed, namespace, node).parts[1:])


def is_true(text: str) -> bool:
    """Return the value of a launch argument that is true or false.

    Raises:
        ValueError: The argument is neither.
    """
    if text.lower() not in ('true', 'false'):
        raise ValueError(f'"{text}" is neither true nor false')
    return text.lower() == 'true'


def own_parameters(value: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters set by launch arguments, which override the parameter file.

    Args:
        value: Name -> value of each argument of segmentation.launch.py; '' if it is not given.
    """
    given: dict[str, Any] = {name: value[name] for name in ('model', 'device') if value[name]}
    given |= {name: is_true(value[name]) for name in ('autostart', 'use_sim_time') if value[name]}
    if cameras := camera_names(value['cameras']):
        given['cameras'] = cameras
    if value['image_transport']:
        given['image_transports'] = [value['image_transport']]
    return given


def existing_file(argument: str, path: str) -> str:
    """Return the path of the file that a launch argument names; ~ is the home folder.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f'{argument} "{path}" is not a file')
    return str(file)


def declare(
    arguments: Mapping[str, tuple[str, str]], *, choices: Mapping[str, Sequence[str]]
) -> list[DeclareLaunchArgument]:
    """Return declarations of launch arguments.

    Args:
        arguments: Name -> default and description.
        choices: Name -> valid values, for arguments that accept no others.
    """
    from launch.actions import DeclareLaunchArgument

    return [
        DeclareLaunchArgument(
            name,
            default_value=default,
            description=description,
            choices=list(choices[name]) if name in choices else None,
        )
        for name, (default, description) in arguments.items()
    ]


def transport_setting() -> list[LaunchDescriptionEntity]:
    """Return actions that set the image transport of all processes started afterwards."""
    from launch.actions import SetEnvironmentVariable

    return [SetEnvironmentVariable(name, value) for name, value in profile_environment().items()]


def include_segmentation(**arguments: object) -> LaunchDescriptionEntity:
    """Return an action that includes segmentation.launch.py; other arguments pass through."""
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    file = share_folder() / 'launch' / 'segmentation.launch.py'
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(file)), launch_arguments=arguments.items()
    )


def segmentation_with(file: str) -> list[LaunchDescriptionEntity]:
    """Return actions that include segmentation.launch.py with a parameter file of `config/`."""
    from launch.actions import GroupAction
    from launch.substitutions import LaunchConfiguration

    default = str(share_folder() / 'config' / file)
    # The group hides the arguments from launch files included later. The transport is set outside
    # it, because drivers started later need it too.
    return [
        *transport_setting(),
        GroupAction(
            [
                *declare(
                    {
                        'params_file': (
                            default,
                            'Parameter file of the node; launch arguments override it',
                        )
                    },
                    choices={},
                ),
                include_segmentation(params_file=LaunchConfiguration('params_file')),
            ]
        ),
    ]


class NodeProcess:
    """A node of this package in a child process; its output goes to a file."""

    def __init__(
        self,
        module: str,
        log: Path,
        *,
        arguments: list[str],
        parameters: dict[str, Any],
        room: str = 'ros',
    ) -> None:
        """Start the process.

        Args:
            module: Module with a `main` function.
            log: File for its output.
            arguments: ROS arguments.
            parameters: Name -> value of the node's parameters.
            room: Subpackage of `instructseg_ros` that holds the module.
        """
        self.name = module
        self.log = log
        for name, value in parameters.items():
            arguments = [*arguments, '-p', f'{name}:={value}']
        code = f'import sys; from instructseg_ros.{room}.{module} import main; sys.exit(main())'
        self._command = [sys.executable, '-c', code, '--ros-args', *arguments]
        log.write_text('')
        self._process = self._start()

    def __enter__(self) -> NodeProcess:
        """Return the running process."""
        return self

    def __exit__(self, *raised: object) -> None:
        """End the process with SIGINT, or kill it after a timeout."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, number: int) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def respawn(self) -> None:
        """Wait for the process to end, and start it again."""
        self._process.wait(END_TIMEOUT)
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open('a') as stream:
            return subprocess.Popen(self._command, stdout=stream, stderr=subprocess.STDOUT)

    def check(self) -> None:
        """Raise RuntimeError if the process has ended or logged an error."""
        lines = self.log.read_text().splitlines()
        errors = [line for line in lines if line.startswith('[ERROR]')]
        if errors:
            raise RuntimeError(f'{self.name} logged an error: {errors[0]}')
        if self._process.poll() is not None:
            raise RuntimeError(
                f'{self.name} ended with status {self._process.returncode}: '
                f'{" ".join(lines[-5:])} (see {self.log})'
            )
