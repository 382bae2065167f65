"""How things move, as the camera sees it, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from math import copysign, hypot

from instructseg_ros.simulation.scene_graph import Thing

REST_SPEED = 1e-3
STRAIGHT_SHARE = 0.8
ASIDE_SHARE = 0.5
ROUND_KINDS = frozenset({'ball', 'can', 'apple', 'car'})


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
    """Whether the thing moves in the direction; unclear where only part of its speed does."""
    if thing.motion is None:
        return moves(thing)
    if 'up' in (thing.motion, direction):
        return 1.0 if thing.motion == direction else 0.0
    share = _share(thing.velocity, direction)
    if thing.motion == direction and share >= STRAIGHT_SHARE:
        return 1.0
    return 0.5 if share > ASIDE_SHARE else 0.0


def _share(velocity: tuple[float, float, float], direction: str) -> float:
    """The cosine to a direction of the table: what is not sideways leads away or back on it."""
    x, y, z = velocity
    along = {'left': -x, 'right': x, 'away': copysign(hypot(y, z), z)}
    along['towards'] = -along['away']
    return along[direction] / max(hypot(x, y, z), REST_SPEED)


def rolls(thing: Thing) -> float:
    """Whether the thing rolls; unclear for round things that are moved otherwise."""
    if moves(thing) == 0.0:
        return 0.0
    if thing.manner == 'rolling':
        return 1.0
    return 0.5 if thing.kind in ROUND_KINDS else 0.0
