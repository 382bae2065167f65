"""Where things are to one another, as the camera sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import dist, hypot

from instructseg_ros.simulation.instructions.writer import Wordings
from instructseg_ros.simulation.scene_graph import Thing

WIDTH_MARGIN = 0.05
DEPTH_MARGIN = 0.04
SHORTEST_GAP = 0.12
CONTAINERS = frozenset({'bowl', 'mug'})
SUPPORTS = frozenset({'plate', 'book', 'box'})


@dataclass(frozen=True, kw_only=True)
class Relation:
    """Words for a place and how true it is of a thing: 1 clearly, 0 clearly not, 0.5 neither.

    `anchors` are the kinds that it makes sense with, None for all of them; `possible` rules things
    out that are in that place of nothing.
    """

    truth: Callable[..., float]
    words: Wordings
    anchors: frozenset[str] | None = None
    anchor_count: int = 1
    possible: Callable[[Thing], bool] = lambda thing: True


def _beyond(difference: float, margin: float) -> float:
    return 1.0 if difference >= margin else 0.0 if difference <= -margin else 0.5


def _touch(thing: Thing, anchor: Thing) -> bool:
    return anchor.label in (thing.on, thing.inside) or thing.label in (anchor.on, anchor.inside)


def _right(thing: Thing, anchor: Thing) -> float:
    if _touch(thing, anchor):
        return 0.5
    across = thing.position[0] / thing.position[2] - anchor.position[0] / anchor.position[2]
    return _beyond(across, WIDTH_MARGIN)


def _behind(thing: Thing, anchor: Thing) -> float:
    if _touch(thing, anchor):
        return 0.5
    return _beyond(thing.position[2] - anchor.position[2], DEPTH_MARGIN)


def _from(thing: Thing, other: Thing) -> tuple[float, float, float]:
    (x, y, z), (a, b, c) = thing.position, other.position
    return a - x, b - y, c - z


def _between(thing: Thing, first: Thing, second: Thing) -> float:
    """By the share of the way from first to second and the distance from that way."""
    if _touch(thing, first) or _touch(thing, second):
        return 0.5
    gap = dist(first.position, second.position)
    if gap < SHORTEST_GAP:
        return 0.5
    (x, y, z), (wx, wy, wz) = _from(first, thing), _from(first, second)
    share = (x * wx + y * wy + z * wz) / gap**2
    aside = hypot(x - share * wx, y - share * wy, z - share * wz)
    if 0.25 <= share <= 0.75 and aside <= 0.25 * gap:
        return 1.0
    return 0.5 if 0.0 <= share <= 1.0 and aside <= 0.5 * gap else 0.0


def _on(thing: Thing, anchor: Thing) -> float:
    return 1.0 if thing.on == anchor.label else 0.5 if thing.inside == anchor.label else 0.0


def _inside(thing: Thing, anchor: Thing) -> float:
    return 1.0 if thing.inside == anchor.label else 0.5 if thing.on == anchor.label else 0.0


RELATIONS = {
    'left': Relation(
        truth=lambda thing, anchor: 1.0 - _right(thing, anchor),
        words=Wordings(
            (
                *2 * ('left of', 'to the left of', 'on the left side of'),
                'further left than',
                'farther to the left than',
            ),
            ('on the left of', 'to the left side of', 'at the left side of'),
        ),
    ),
    'right': Relation(
        truth=_right,
        words=Wordings(
            (
                *2 * ('right of', 'to the right of', 'on the right side of'),
                'further right than',
                'farther to the right than',
            ),
            ('on the right of', 'to the right side of', 'at the right side of'),
        ),
    ),
    'behind': Relation(
        truth=_behind,
        words=Wordings(
            (
                'behind',
                'at the back of',
                'farther away than',
                'further back than',
                'more distant than',
                'further from me than',
                'farther from the camera than',
                'at the far side of',
            ),
            ('in back of', 'further away than', 'farther back than'),
        ),
    ),
    'front': Relation(
        truth=lambda thing, anchor: 1.0 - _behind(thing, anchor),
        words=Wordings(
            (
                'in front of',
                'before',
                'nearer than',
                'closer to me than',
                'nearer to the camera than',
                'less far away than',
                'at the near side of',
                'closer to the camera than',
            ),
            ('at the front of', 'closer than', 'nearer to me than'),
        ),
    ),
    'between': Relation(
        truth=_between,
        words=Wordings(
            (
                'between',
                'in between',
                'in the middle of',
                'midway between',
                'at the middle between',
                'somewhere between',
                'standing between',
            ),
            ('in the middle between', 'amid'),
        ),  # new word: amid
        anchor_count=2,
    ),
    'on': Relation(
        truth=_on,
        words=Wordings(
            (
                *2 * ('on', 'on top of'),
                'standing on',
                'lying on',
                'sitting on top of',
                'placed on',
                'placed on top of',
                'sitting on',
                'up on top of',
                'put on',
            ),
            ('at the top of', 'lying on top of', 'standing on top of'),
        ),
        anchors=SUPPORTS,
        possible=lambda thing: thing.on is not None,
    ),
    'inside': Relation(
        truth=_inside,
        words=Wordings(
            (
                *2 * ('in', 'inside'),
                'inside of',
                'lying in',
                'sitting in',
                'placed inside',
                'sitting inside',
                'standing inside',
                'placed in',
                'deep inside',
                'put into',
            ),
            ('lying inside', 'standing in', 'within'),
        ),  # new word: within
        anchors=CONTAINERS,
        possible=lambda thing: thing.inside is not None,
    ),
}
