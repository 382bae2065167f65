"""What is on the table, as the camera sees it: the truth that instructions are made from."""

from __future__ import annotations

from dataclasses import dataclass

MOTIONS = ('left', 'right', 'towards', 'away', 'up')
MANNERS = ('pushed', 'rolling', 'lifted', 'path')


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One visible thing; positions in metres in the camera optical frame (x right, y down, z ahead).

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
