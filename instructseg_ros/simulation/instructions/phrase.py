"""Pieces of text that know which of their words point at which things."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

SLOT = re.compile(r'\{(\w+)\}')


@dataclass(frozen=True, kw_only=True)
class Grounding:
    """What one phrase of a text alone points at.

    `start` and `end` are characters of the text, `weights` maps the label of a thing to 0..1
    (1 = the phrase is true of it; things not listed weigh 0), `group` is 'attribute',
    'superlative', 'relation' or 'motion'.
    """

    start: int
    end: int
    weights: Mapping[int, float]
    group: str


@dataclass(frozen=True)
class Phrase:
    """A text and the groundings of the phrases within it."""

    text: str
    groundings: tuple[Grounding, ...] = ()


def grounded(text: str, weights: Mapping[int, float], group: str) -> Phrase:
    """A phrase that points as a whole."""
    return Phrase(text, (Grounding(start=0, end=len(text), weights=weights, group=group),))


def compose(template: str, **slots: Phrase) -> Phrase:
    """The template with its `{slot}`s filled; groundings move along with their words."""
    text = ''
    groundings: list[Grounding] = []
    for number, part in enumerate(_parts(template)):
        if number % 2:
            groundings.extend(shifted(slots[part], len(text)))
            text += slots[part].text
        else:
            text += part
    return Phrase(text, tuple(groundings))


def shifted(phrase: Phrase, offset: int) -> list[Grounding]:
    """The groundings of a phrase that starts at character `offset` of a longer text."""
    return [
        Grounding(
            start=one.start + offset, end=one.end + offset, weights=one.weights, group=one.group
        )
        for one in phrase.groundings
    ]


@lru_cache(maxsize=1024)
def _parts(template: str) -> tuple[str, ...]:
    """Literal text and slot names in turn; the slots are at the odd places."""
    return tuple(SLOT.split(template))
