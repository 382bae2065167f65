"""Generates instructions over a scene graph, with the objects they mean."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from instructseg_ros.tabletop.instructions import (
    attribute,
    plural,
    relation,
    superlative,
    use,
    wording,
)
from instructseg_ros.tabletop.instructions import movement as motion
from instructseg_ros.tabletop.instructions.draft import Draft
from instructseg_ros.tabletop.instructions.noun_phrase import pluralized
from instructseg_ros.tabletop.instructions.wording import SLOT, Grounding, Wordings, Writer
from instructseg_ros.tabletop.world.scene_graph import SceneGraph

MODULES = {
    'attribute': attribute,
    'superlative': superlative,
    'relation': relation,
    'plural': plural,
    'use': use,
    'motion': motion,
}
KINDS = tuple(MODULES)
MOST_WORDS = 20
WORD = re.compile(r"[a-z']+")


@dataclass(frozen=True, kw_only=True)
class TabletopInstruction:
    """An instruction and what it means in the scene that it was made for.

    `targets` are the labels meant, empty when the instruction means something that is not there.
    `anchors` are the other things of a relation. `candidates` fit the noun phrase before a
    superlative, relation or motion narrows it; for the other kinds they are the targets.
    `held_out` tells that the wording was held out of training.
    """

    text: str
    kind: str
    targets: frozenset[int]
    anchors: frozenset[int]
    candidates: frozenset[int]
    groundings: tuple[Grounding, ...]
    held_out: bool


def generate(
    graph: SceneGraph,
    rng: np.random.Generator,
    *,
    kind: str | None = None,
    absent: bool = False,
    held_out: bool = False,
) -> TabletopInstruction | None:
    """One instruction over the scene, or None when the scene cannot give one.

    `kind` is one of `KINDS`, None draws among those that the scene can give. `absent` asks for a
    target that is not there, `held_out` for a wording that training never has.
    """
    if not graph:
        return None
    if kind is None:
        drawn = (KINDS[i] for i in rng.permutation(len(KINDS)))
        made = (generate(graph, rng, kind=one, absent=absent, held_out=held_out) for one in drawn)
        return next((one for one in made if one is not None), None)
    if kind not in MODULES:
        raise ValueError(f'kind is {kind!r}: use one of {", ".join(KINDS)}')
    draft = _short_draft(graph, rng, kind, absent, held_out)
    if draft is None:
        return None
    return TabletopInstruction(
        text=draft.text.text,
        kind=kind,
        targets=draft.targets,
        anchors=draft.anchors,
        candidates=draft.candidates,
        groundings=draft.text.groundings,
        held_out=held_out,
    )


def _short_draft(
    graph: SceneGraph, rng: np.random.Generator, kind: str, absent: bool, held_out: bool
) -> Draft | None:
    while True:
        draft = MODULES[kind].draft(Writer(graph, rng, held_out=held_out), absent=absent)
        if draft is None or len(draft.text.text.split()) <= MOST_WORDS:
            return draft


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """Every lower-case word of the training wordings, sorted."""
    texts = [SLOT.sub(' ', text) for words in wordings() for text in words.trained]
    texts += [pluralized(noun) for words in wording.NOUNS.values() for noun in words.trained]
    texts += ['a an is are']
    return tuple(sorted({word for text in texts for word in WORD.findall(text.lower())}))


def new_words(text: str) -> set[str]:
    """The words of a text that no training wording has."""
    return set(WORD.findall(text.lower())).difference(vocabulary())


def wordings() -> Iterator[Wordings]:
    """All the wordings that instructions are made of."""
    for module in MODULES.values():
        yield from module.WORDINGS
    yield from wording.BEFORE_NOUN.values()
    yield from wording.AFTER_NOUN.values()
    yield from wording.COLORS.values()
    yield from wording.SIZES.values()
    yield from (wording.THING, wording.THINGS, *wording.NOUNS.values())
