"""The true boxes around objects of the simulated tabletop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instructseg_ros.spatial.quaternions import to_matrix
from instructseg_ros.tabletop.world.scene import PlacedObject, Scene


@dataclass(frozen=True, kw_only=True)
class TrueBox:
    """The upright box around an object along its own axes, m in the camera optical frame.

    Attributes:
        center: (3,) its centre.
        size: (3,) its length, its width (at most the length) and its height.
        rotation: (3, 3) with the directions of these three sides as columns.
    """

    center: np.ndarray
    size: np.ndarray
    rotation: np.ndarray


def true_box(scene: Scene, obj: PlacedObject, time: float) -> TrueBox:
    """The box around an object at `time` seconds."""
    _, base, orientation = obj.pose(time)
    rotation = to_matrix(orientation)
    corners = obj.entry.shape.vertices() @ rotation.T + base
    axes = _upright(rotation)
    own = corners @ axes
    middle, size = axes @ (own.min(0) + own.max(0)) / 2, np.ptp(own, axis=0)
    if size[0] < size[1]:
        axes, size = np.stack([axes[:, 1], -axes[:, 0], axes[:, 2]], 1), size[[1, 0, 2]]
    return TrueBox(
        center=scene.camera.to_optical(middle), size=size, rotation=scene.camera.rotation.T @ axes
    )


def _upright(rotation: np.ndarray) -> np.ndarray:
    """The frame (3, 3) with z up and x along the most level of an object's own axes."""
    level = rotation[:, int(np.abs(rotation[2]).argmin())] * [1.0, 1.0, 0.0]
    x = level / np.linalg.norm(level)
    return np.array([[x[0], -x[1], 0.0], [x[1], x[0], 0.0], [0.0, 0.0, 1.0]])
