"""Generates instructions about a scene graph, with the objects they mean."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from instructseg_ros.tabletop.instructions import wording
from instructseg_ros.tabletop.instructions.attribute import ATTRIBUTE
from instructseg_ros.tabletop.instructions.category import Draft
from instructseg_ros.tabletop.instructions.compound import COMPOUND
from instructseg_ros.tabletop.instructions.movement import MOTION
from instructseg_ros.tabletop.instructions.negation import NEGATION
from instructseg_ros.tabletop.instructions.noun_phrase import pluralized
from instructseg_ros.tabletop.instructions.order import COMPARISON, ORDINAL
from instructseg_ros.tabletop.instructions.plural import PLURAL
from instructseg_ros.tabletop.instructions.relation import PROXIMITY, RELATION
from instructseg_ros.tabletop.instructions.superlative import SUPERLATIVE
from instructseg_ros.tabletop.instructions.use import USE
from instructseg_ros.tabletop.instructions.wording import SLOT, Grounding, Wordings, Writer
from instructseg_ros.tabletop.world.scene_graph import SceneGraph

_CATEGORIES = (
    *(ATTRIBUTE, SUPERLATIVE, RELATION, PLURAL, USE, MOTION),
    *(NEGATION, COMPOUND, ORDINAL, COMPARISON, PROXIMITY),
)
INSTRUCTION_CATEGORIES = {category.name: category for category in _CATEGORIES}
MAX_WORDS = 36
WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


@dataclass(frozen=True, kw_only=True)
class TabletopInstruction:
    """An instruction and the objects it refers to in the scene it was generated for.

    Attributes:
        text: The instruction.
        category: Name of its category.
        targets: Labels of the objects meant; empty when the target is not in the scene.
        anchors: Labels of the other objects of a relation.
        candidates: Labels of the objects that fit the noun phrase before a superlative, relation
            or motion narrows it down; equal to the targets in the other categories.
        groundings: The objects that each phrase of the text describes on its own.
        held_out: Whether the wording was held out of training.
    """

    text: str
    category: str
    targets: frozenset[int]
    anchors: frozenset[int]
    candidates: frozenset[int]
    groundings: tuple[Grounding, ...]
    held_out: bool


def generate(
    graph: SceneGraph,
    rng: np.random.Generator,
    *,
    category: str | None = None,
    absent: bool = False,
    held_out: bool = False,
) -> TabletopInstruction | None:
    """Generate one instruction about a scene.

    Args:
        graph: The scene.
        rng: Random source; the same state gives the same instruction.
        category: A name of `INSTRUCTION_CATEGORIES`; None draws one that suits the scene.
        absent: Refer to a target that is not in the scene.
        held_out: Use a wording that is held out of training.

    Returns:
        The instruction, or None if the scene does not offer one.

    Raises:
        ValueError: The category does not exist.
    """
    if not graph:
        return None
    if category is None:
        names = tuple(INSTRUCTION_CATEGORIES)
        drawn = (names[i] for i in rng.permutation(len(names)))
        made = (generate(graph, rng, category=n, absent=absent, held_out=held_out) for n in drawn)
        return next((instruction for instruction in made if instruction is not None), None)
    if category not in INSTRUCTION_CATEGORIES:
        raise ValueError(
            f'category is {category!r}: use one of {", ".join(INSTRUCTION_CATEGORIES)}'
        )
    draft = _short_draft(graph, rng, category, absent, held_out)
    if draft is None:
        return None
    return TabletopInstruction(
        text=draft.text.text,
        category=category,
        targets=draft.targets,
        anchors=draft.anchors,
        candidates=draft.candidates,
        groundings=draft.text.groundings,
        held_out=held_out,
    )


def _short_draft(
    graph: SceneGraph, rng: np.random.Generator, category: str, absent: bool, held_out: bool
) -> Draft | None:
    generator = INSTRUCTION_CATEGORIES[category].generator
    while True:
        draft = generator(Writer(graph, rng, held_out=held_out), absent=absent)
        if draft is None or len(draft.text.text.split()) <= MAX_WORDS:
            return draft


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """Return every lower-case word of the training wordings, sorted.

    Words that occur in only one paraphrase and in no other wording are left out: they could not be
    learned.
    """
    texts = [text for words in wording.PARAPHRASES.values() for text in words.trained]
    seen = Counter(word for text in texts for word in _words(text))
    return tuple(sorted(composed_words() | {word for word, count in seen.items() if count > 1}))


@functools.cache
def composed_words() -> frozenset[str]:
    """Return the lower-case words of the training wordings other than paraphrases."""
    texts = [text for words in all_wordings() for text in words.trained]
    texts += [pluralized(noun) for words in wording.NOUNS.values() for noun in words.trained]
    return frozenset({'a', 'an', 'is', 'are'}.union(*map(_words, texts)))


def object_nouns() -> tuple[str, ...]:
    """Return the nouns of the training wordings for objects, in singular and plural, sorted."""
    names = [name.split()[-1] for words in wording.NOUNS.values() for name in words.trained]
    return tuple(sorted({*names, *map(pluralized, names)}))


def _words(text: str) -> set[str]:
    return set(WORD.findall(SLOT.sub(' ', text).lower()))


@functools.cache
def synonyms() -> dict[str, str]:
    """Return the trained synonyms of dictionary words that occur in no training wording."""
    text = (Path(__file__).parent / 'synonyms.yaml').read_text()
    return {str(word): str(known) for word, known in yaml.safe_load(text).items()}


@functools.cache
def look_alikes() -> tuple[str, ...]:
    """Return words of a dictionary that resemble a training word and are no misspelling of it."""
    return tuple((Path(__file__).parent / 'look_alikes.txt').read_text().split())


def new_words(text: str) -> set[str]:
    """Return the words of a text that occur in no training wording."""
    return _words(text).difference(vocabulary())


def all_wordings() -> Iterator[Wordings]:
    """Yield all wordings that instructions are composed of."""
    for category in INSTRUCTION_CATEGORIES.values():
        yield from category.wordings
    yield from wording.BEFORE_NOUN.values()
    yield from wording.AFTER_NOUN.values()
    yield from wording.COLORS.values()
    yield from wording.SIZES.values()
    yield from (wording.OBJECT_NOUNS, wording.OBJECT_PLURALS, *wording.NOUNS.values())
