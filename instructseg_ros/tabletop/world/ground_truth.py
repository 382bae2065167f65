"""Computes the scene graph and the true boxes of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from instructseg_ros.tabletop.world.motions import direction, velocity
from instructseg_ros.tabletop.world.pinhole_camera import Intrinsics, project
from instructseg_ros.tabletop.world.quaternions import to_matrix
from instructseg_ros.tabletop.world.scene import Item, Scene
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, Thing
from instructseg_ros.tabletop.world.world_model import Body

LEAST_AREA = 150 / (640 * 480)
LEAST_SHARE = 0.35
SEEN_MOVING = 0.3  # s that a direction must have been kept to count as the thing's motion


def scene_graph(
    scene: Scene,
    items: Sequence[tuple[Item, Body]],
    labels: np.ndarray,
    intrinsics: Intrinsics,
    time: float,
) -> SceneGraph:
    """The things of `labels` (H, W) that show enough of themselves to be meant, by label."""
    count = len(items) + 1
    flat = labels.ravel()
    area = np.bincount(flat, minlength=count)
    columns = np.tile(np.arange(labels.shape[1], dtype=float), labels.shape[0])
    rows = np.repeat(np.arange(labels.shape[0], dtype=float), labels.shape[1])
    u = np.bincount(flat, columns, count) / np.maximum(area, 1)
    v = np.bincount(flat, rows, count) / np.maximum(area, 1)
    things = []
    for item, body in items:
        size = int(area[item.label])
        if size < LEAST_AREA * labels.size:
            continue
        if visible_share(scene, item, body.points, labels, intrinsics, time) < LEAST_SHARE:
            continue
        pixel = (float(u[item.label]), float(v[item.label]))
        things.append(_thing(scene, item, body, pixel, size, time))
    return tuple(things)


def visible_share(
    scene: Scene,
    item: Item,
    surface: np.ndarray,
    labels: np.ndarray,
    intrinsics: Intrinsics,
    time: float,
) -> float:
    """About which share of the outline of a thing of that `surface` (n, 3) no other hides."""
    _, base, orientation = item.pose(time)
    points = scene.camera.to_optical(surface @ to_matrix(orientation).T + base)
    at = np.rint(project(points, intrinsics)).astype(int)
    inside = ((at >= 0) & (at < [intrinsics.width, intrinsics.height])).all(1)
    seen = labels[at[inside, 1], at[inside, 0]] == item.label
    return float(seen.sum() / len(at))


def _thing(
    scene: Scene, item: Item, body: Body, pixel: tuple[float, float], area: int, time: float
) -> Thing:
    camera, moved, motion = scene.camera, np.zeros(3), None
    if item.motion is not None:
        moved = velocity(item.motion, time)
        ways = [
            direction(m, *camera.table_axes())
            for m in (moved, velocity(item.motion, time, over=SEEN_MOVING))
        ]
        motion = ways[0] if ways[0] == ways[1] else None
    x, y, z = camera.to_optical(item.pose(time)[0]).tolist()
    dx, dy, dz = (moved @ camera.rotation).tolist()
    moving = item.motion is not None and bool(moved.any())
    return Thing(
        label=item.label,
        kind=item.article.kind,
        color=item.color,
        size=item.article.size,
        extent=body.extent,
        position=(x, y, z),
        velocity=(dx, dy, dz),
        motion=motion,
        manner=item.motion.manner if moving and item.motion is not None else None,
        pixel=pixel,
        area=area,
        on=item.on,
        inside=item.inside,
    )


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
    return TrueBox(
        center=scene.camera.to_optical(middle), size=size, rotation=scene.camera.rotation.T @ axes
    )


def _upright(turned: np.ndarray) -> np.ndarray:
    """The frame (3, 3) whose z is up and whose x is the most level of a thing's own axes."""
    level = turned[:, int(np.abs(turned[2]).argmin())] * [1.0, 1.0, 0.0]
    x = level / np.linalg.norm(level)
    return np.array([[x[0], -x[1], 0.0], [x[1], x[0], 0.0], [0.0, 0.0, 1.0]])
