"""How things move, as the camera sees it, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

from instructseg_ros.simulation.scene_graph import Thing

REST_SPEED = 1e-3
ASIDE_SHARE = 0.6
ROUND_KINDS = frozenset({'ball', 'can', 'bottle', 'apple'})
HEADINGS = {
    'left': (-1.0, 0.0, 0.0),
    'right': (1.0, 0.0, 0.0),
    'towards': (0.0, 0.0, -1.0),
    'away': (0.0, 0.0, 1.0),
    'up': (0.0, -1.0, 0.0),
}


@dataclass(frozen=True, kw_only=True)
class Movement:
    """A direction and whether it is rolling, each None or False where the words leave it open."""

    direction: str | None = None
    rolling: bool = False

    def truth(self, thing: Thing) -> float:
        """1 where the thing clearly moves so, 0 where it clearly does not, else 0.5."""
        return min(
            moves(thing),
            1.0 if self.direction is None else heads(thing, self.direction),
            rolls(thing) if self.rolling else 1.0,
        )


def moves(thing: Thing) -> float:
    """Whether the thing moves; unclear while it starts, turns or comes down."""
    if thing.motion is not None:
        return 1.0
    return 0.5 if hypot(*thing.velocity) > REST_SPEED else 0.0


def heads(thing: Thing, direction: str) -> float:
    """Whether the thing moves in the direction; unclear where a good part of its speed does."""
    if thing.motion == direction:
        return 1.0
    along = sum(a * b for a, b in zip(thing.velocity, HEADINGS[direction]))
    lifted = 'up' in (thing.motion, direction) and thing.motion is not None
    return 0.5 if along > ASIDE_SHARE * hypot(*thing.velocity) and not lifted else 0.0


def rolls(thing: Thing) -> float:
    """Whether the thing rolls; unclear for round things that are moved otherwise."""
    if moves(thing) == 0.0:
        return 0.0
    if thing.manner == 'rolling':
        return 1.0
    return 0.5 if thing.kind in ROUND_KINDS else 0.0
