"""What launch files work out, apart from launch itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from instructseg_ros.ros.camera_input import camera_topic


def camera_names(text: str) -> list[str]:
    """Return the names in a launch argument such as `[front, wrist]`; none of an empty one.

    Raises:
        ValueError: It is no list of names.
    """
    names = yaml.safe_load(text) if text.strip() else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'cameras must be a list such as "[front, wrist]", not "{text}"')
    return names


def camera_remappings(cameras: Sequence[str], namespace: str,
                      topics: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return how the topics of cameras are remapped to those of their drivers.

    Args:
        cameras: Names of the cameras, each the namespace of its driver; none: one camera.
        namespace: Of the driver of the one camera.
        topics: Name that the node has for a topic -> the driver's name within its namespace.
    """
    if not cameras:
        return [(ours, f'{namespace}/{theirs}') for ours, theirs in topics.items()]
    return [(camera_topic(camera, ours), f'{camera}/{theirs}') for camera in cameras
            for ours, theirs in topics.items() if ours != theirs]
