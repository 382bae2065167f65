"""The scene graph of a frame: which objects are visible, where they are and how they move."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.spatial.quaternions import to_matrix
from instructseg_ros.tabletop.world.mujoco_model import Body
from instructseg_ros.tabletop.world.scene import PlacedObject, Scene, direction, velocity

MOTIONS = ('left', 'right', 'towards', 'away', 'up')
MANNERS = ('pushed', 'rolling', 'lifted', 'path')
MIN_AREA = 150 / (640 * 480)
MIN_VISIBLE_SHARE = 0.35
MOTION_MEMORY = 0.3  # s for which an object must have kept its direction


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One visible object; metres in the camera optical frame (x right, y down, z ahead).

    Attributes:
        label: Its value in the label image.
        category: Its category in the catalogue.
        color: Name of its color.
        size: 'small', 'medium' or 'large'.
        extent: Its longest side, m.
        position: Its centre, m.
        velocity: Its velocity, m/s.
        motion: Its direction of motion as seen by the camera, one of MOTIONS. None at rest, just
            after it started or turned, and while a lifted object comes down.
        manner: How it moves, one of MANNERS; None at rest.
        pixel: Mean column and row of its visible pixels.
        area: Number of its visible pixels.
        on: Label of the object it lies on; None on the table. That object may be too hidden to be
            in the graph.
        inside: Label of the container it is in, which may be hidden too; None if it is in none.
    """

    label: int
    category: str
    color: str
    size: str
    extent: float
    position: tuple[float, float, float]
    velocity: tuple[float, float, float]
    motion: str | None
    manner: str | None
    pixel: tuple[float, float]
    area: int
    on: int | None
    inside: int | None


SceneGraph = tuple[SceneObject, ...]


def to_json(graph: SceneGraph, *, stamp: int, scene: int, time: float) -> str:
    """Write a scene graph as JSON.

    Args:
        graph: The scene graph.
        stamp: Stamp of its image, ns.
        scene: Seed of the scene.
        time: Time of the observation, s.
    """
    objects = [asdict(obj) for obj in graph]
    return json.dumps({'stamp': stamp, 'scene': scene, 'time': time, 'objects': objects})


def from_json(text: str) -> SceneGraph:
    """Read the output of `to_json`, or that of an earlier version, as in the shipped recording."""
    fields = json.loads(text)
    return tuple(map(_read_object, fields['objects'] if 'objects' in fields else fields['things']))


def _read_object(values: dict[str, Any]) -> SceneObject:
    category = values.pop('kind') if 'kind' in values else values['category']
    points = {name: tuple(values[name]) for name in ('position', 'velocity', 'pixel')}
    return SceneObject(**{**values, **points, 'category': category})


def scene_graph(
    scene: Scene,
    placed: Sequence[tuple[PlacedObject, Body]],
    labels: np.ndarray,
    pinhole: Pinhole,
    time: float,
) -> SceneGraph:
    """Describe the objects that are visible enough to be referred to, ordered by label.

    Args:
        scene: The scene.
        placed: Its objects and their bodies in the model.
        labels: (H, W) label image.
        pinhole: Camera of the label image.
        time: Time of the observation, s.
    """
    count = len(placed) + 1
    flat = labels.ravel()
    area = np.bincount(flat, minlength=count)
    columns = np.tile(np.arange(labels.shape[1], dtype=float), labels.shape[0])
    rows = np.repeat(np.arange(labels.shape[0], dtype=float), labels.shape[1])
    u = np.bincount(flat, columns, count) / np.maximum(area, 1)
    v = np.bincount(flat, rows, count) / np.maximum(area, 1)
    objects = []
    for obj, body in placed:
        size = int(area[obj.label])
        if size < MIN_AREA * labels.size:
            continue
        if visible_share(scene, obj, body.points, labels, pinhole, time) < MIN_VISIBLE_SHARE:
            continue
        pixel = (float(u[obj.label]), float(v[obj.label]))
        objects.append(_describe(scene, obj, body, pixel, size, time))
    return tuple(objects)


def visible_share(
    scene: Scene,
    obj: PlacedObject,
    surface: np.ndarray,
    labels: np.ndarray,
    pinhole: Pinhole,
    time: float,
) -> float:
    """Estimate the share of an object's silhouette that is in the image and not hidden.

    Args:
        scene: The scene.
        obj: The object.
        surface: (n, 3) points on its surface, m in its own frame.
        labels: (H, W) label image.
        pinhole: Camera of the label image.
        time: Time of the observation, s.
    """
    _, base, orientation = obj.pose(time)
    points = scene.camera.to_optical(surface @ to_matrix(orientation).T + base)
    at = np.rint(pinhole.project(points)).astype(int)
    inside = ((at >= 0) & (at < [pinhole.width, pinhole.height])).all(1)
    seen = labels[at[inside, 1], at[inside, 0]] == obj.label
    return float(seen.sum() / len(at))


def _describe(
    scene: Scene, obj: PlacedObject, body: Body, pixel: tuple[float, float], area: int, time: float
) -> SceneObject:
    camera, moved, motion = scene.camera, np.zeros(3), None
    if obj.motion is not None:
        moved = velocity(obj.motion, time)
        directions = [
            direction(v, *camera.table_axes())
            for v in (moved, velocity(obj.motion, time, over=MOTION_MEMORY))
        ]
        motion = directions[0] if directions[0] == directions[1] else None
    x, y, z = camera.to_optical(obj.pose(time)[0]).tolist()
    dx, dy, dz = (moved @ camera.rotation).tolist()
    return SceneObject(
        label=obj.label,
        category=obj.entry.category,
        color=obj.color,
        size=obj.entry.size,
        extent=body.extent,
        position=(x, y, z),
        velocity=(dx, dy, dz),
        motion=motion,
        manner=obj.motion.manner if obj.motion is not None and moved.any() else None,
        pixel=pixel,
        area=area,
        on=obj.on,
        inside=obj.inside,
    )
