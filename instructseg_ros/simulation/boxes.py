"""The boxes around things: what an estimate of them from depth is measured with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instructseg_ros.simulation.rotations import to_matrix
from instructseg_ros.simulation.scene import Item, Scene


@dataclass(frozen=True, kw_only=True)
class TrueBox:
    """The upright box around a thing along its own axes, m in the camera optical frame.

    `center` (3,); `size` (3,) is its length, its width (not longer) and its height; the columns
    of `rotation` (3, 3) are the directions of the three.
    """

    center: np.ndarray
    size: np.ndarray
    rotation: np.ndarray


def true_box(scene: Scene, item: Item, time: float) -> TrueBox:
    """The box around an item at `time` seconds."""
    _, base, orientation = item.pose(time)
    turned = to_matrix(orientation)
    corners = item.article.shape.vertices() @ turned.T + base
    axes = _upright(turned)
    own = corners @ axes
    middle, size = axes @ (own.min(0) + own.max(0)) / 2, np.ptp(own, axis=0)
    if size[0] < size[1]:
        axes, size = np.stack([axes[:, 1], -axes[:, 0], axes[:, 2]], 1), size[[1, 0, 2]]
    return TrueBox(center=scene.camera.to_optical(middle), size=size,
                   rotation=scene.camera.rotation.T @ axes)  # fmt: skip


def _upright(turned: np.ndarray) -> np.ndarray:
    """The frame (3, 3) whose z is up and whose x is the most level of a thing's own axes."""
    level = turned[:, int(np.abs(turned[2]).argmin())] * [1.0, 1.0, 0.0]
    x = level / np.linalg.norm(level)
    return np.array([[x[0], -x[1], 0.0], [x[1], x[0], 0.0], [0.0, 0.0, 1.0]])
