"""The true state of a frame: which objects are visible and where."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

MOTIONS = ('left', 'right', 'towards', 'away', 'up')
MANNERS = ('pushed', 'rolling', 'lifted', 'path')


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One visible thing; metres in the camera optical frame (x right, y down, z ahead).

    `motion` is the direction the thing has kept for the last moments as seen from the camera, and
    None at rest, while it has only just started or turned, and while a lifted thing comes down.
    `on` and `inside` are labels of other things, None on the table; they may name a thing that is
    too hidden to be in the graph.
    """

    label: int
    kind: str
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


SceneGraph = tuple[Thing, ...]


def to_json(graph: SceneGraph, *, stamp: int, scene: int, time: float) -> str:
    """A scene graph as JSON, with the stamp of its image in ns, its scene's seed and its time."""
    things = [asdict(thing) for thing in graph]
    return json.dumps({'stamp': stamp, 'scene': scene, 'time': time, 'things': things})


def from_json(text: str) -> SceneGraph:
    """The scene graph that `to_json` wrote."""
    return tuple(_thing(values) for values in json.loads(text)['things'])


def _thing(values: dict[str, Any]) -> Thing:
    points = {name: tuple(values[name]) for name in ('position', 'velocity', 'pixel')}
    return Thing(**{**values, **points})
