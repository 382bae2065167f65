"""What each kind of instruction hands to `generate`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from instructseg_ros.tabletop.instructions.wording import Phrase
from instructseg_ros.tabletop.world.scene_graph import Thing


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A finished text and the labels it is about (see `TabletopInstruction`)."""

    text: Phrase
    targets: frozenset[int]
    candidates: frozenset[int]
    anchors: frozenset[int] = frozenset()


def labels(things: Iterable[Thing]) -> frozenset[int]:
    """The labels of the things."""
    return frozenset(thing.label for thing in things)
