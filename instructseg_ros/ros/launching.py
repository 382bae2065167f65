"""What the launch files share; `launch` is imported only where something of it is made."""

from __future__ import annotations

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


def camera_names(text: str) -> list[str]:
    """Return the names in a launch argument such as `[front, wrist]`; none of an empty one.

    Raises:
        ValueError: It is no list of names.
    """
    names = yaml.safe_load(text) if text.strip() else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'cameras must be a list such as "[front, wrist]", not "{text}"')
    return names


def camera_remappings(
    cameras: Sequence[str], namespace: str, topics: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return how the topics of cameras are remapped to those of their drivers.

    Args:
        cameras: Names of the cameras, each the namespace of its driver; none: one camera.
        namespace: Of the driver of the one camera.
        topics: Name that the node has for a topic -> the driver's name within its namespace, or
            from the root where it begins with a slash.

    Raises:
        ValueError: Several cameras would have the same topic.
    """
    if not cameras:
        return [(ours, driver_topic(namespace, theirs)) for ours, theirs in topics.items()]
    if len(cameras) > 1:
        for topic in topics.values():
            if topic.startswith('/'):
                raise ValueError(
                    f'{topic} would be a topic of every camera; name one within '
                    f'their namespaces, without the first slash'
                )
    return [
        (camera_topic(camera, ours), driver_topic(camera, theirs))
        for camera in cameras
        for ours, theirs in topics.items()
        if ours != theirs
    ]


def driver_topic(namespace: str, topic: str) -> str:
    """Return a driver's topic, given within its namespace or from the root."""
    return topic if topic.startswith('/') else f'{namespace.rstrip("/")}/{topic}'


def logger_name(pushed: str, namespace: str, node: str) -> str:
    """Return the name of a node's logger.

    Args:
        pushed: Namespace of the group that the launch file is included in.
        namespace: Of the node, within that one or from the root.
    """
    return '.'.join(PurePosixPath('/', pushed, namespace, node).parts[1:])


def is_true(text: str) -> bool:
    """Read a launch argument that is true or false.

    Raises:
        ValueError: It is neither.
    """
    if text.lower() not in ('true', 'false'):
        raise ValueError(f'"{text}" is neither true nor false')
    return text.lower() == 'true'


def own_parameters(value: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of the arguments that are given; they win over those of the file.

    Args:
        value: Name of each argument of segmentation.launch.py -> what it is; '' if not given.
    """
    given: dict[str, Any] = {name: value[name] for name in ('model', 'device') if value[name]}
    given |= {name: is_true(value[name]) for name in ('autostart', 'use_sim_time') if value[name]}
    if cameras := camera_names(value['cameras']):
        given['cameras'] = cameras
    if value['image_transport']:
        given['image_transports'] = [value['image_transport']]
    return given


def existing_file(argument: str, path: str) -> str:
    """Return the path of a file that a launch argument names, with ~ as the home folder.

    Raises:
        FileNotFoundError: There is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f'{argument} "{path}" is not a file')
    return str(file)


def declare(
    arguments: Mapping[str, tuple[str, str]], *, choices: Mapping[str, Sequence[str]]
) -> list[DeclareLaunchArgument]:
    """Declare launch arguments.

    Args:
        arguments: Name -> default and description.
        choices: Name -> the only values, for arguments with a closed set of them.
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
    """Make the transport carry images between all processes that are started after it."""
    from launch.actions import SetEnvironmentVariable

    profile = share_folder() / 'config' / 'fastdds.xml'
    return [
        SetEnvironmentVariable(name, value) for name, value in profile_environment(profile).items()
    ]


def include_segmentation(**arguments: object) -> LaunchDescriptionEntity:
    """Include segmentation.launch.py; arguments that are not given are passed through."""
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    file = share_folder() / 'launch' / 'segmentation.launch.py'
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(file)), launch_arguments=arguments.items()
    )


def segmentation_with(file: str) -> list[LaunchDescriptionEntity]:
    """Include segmentation.launch.py with another file of `config/` as its parameters."""
    from launch.actions import GroupAction
    from launch.substitutions import LaunchConfiguration

    default = str(share_folder() / 'config' / file)
    # The group keeps the arguments from the launch files that are included after this one.
    # It would keep the transport from drivers that are started afterwards, too.
    return [
        *transport_setting(),
        GroupAction(
            [
                *declare(
                    {
                        'params_file': (
                            default,
                            'Parameters of the node; the arguments that are given win over it',
                        )
                    },
                    choices={},
                ),
                include_segmentation(params_file=LaunchConfiguration('params_file')),
            ]
        ),
    ]
