"""Draws training instructions and perturbs their words, so that unseen wordings are understood."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np
from tqdm import trange

from instructseg_ros.model.embedded import SPECIAL_TOKENS
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.tabletop.instructions import (
    INSTRUCTION_CATEGORIES,
    TabletopInstruction,
    generate,
    vocabulary,
)
from instructseg_ros.tabletop.instructions import movement as motions
from instructseg_ros.tabletop.instructions.noun_phrase import pluralized
from instructseg_ros.tabletop.instructions.relation import RELATIONS
from instructseg_ros.tabletop.instructions.superlative import SUPERLATIVES
from instructseg_ros.tabletop.instructions.use import USES
from instructseg_ros.tabletop.instructions.wording import (
    COLORS,
    NOUNS,
    OBJECT_NOUNS,
    OBJECT_PLURALS,
    SIZES,
    Wordings,
)
from instructseg_ros.tabletop.training.scene_store import ANCHORS, MAX_WORDS, SceneStore

if TYPE_CHECKING:
    from instructseg_ros.tabletop.world.scene_graph import SceneGraph


GROUPS: Final = ('attribute', 'superlative', 'relation', 'motion')
_ABSENT_SHARE = 0.2
_CATEGORIES = tuple(INSTRUCTION_CATEGORIES.values())


def write_instructions(store: SceneStore, processor: InstructSegProcessor, *, seed: int) -> None:
    """Give every scene its instructions, once; a marker file says that it is done."""
    marker = store.folder / 'instructions.done'
    if marker.exists():
        return
    for index in trange(store.shape.scenes, desc='instructions'):
        rng = np.random.default_rng((seed, index))
        graph = store.read_graph(index)
        for number in range(store.shape.instructions):
            _write(store, processor, index, number, draw_instruction(graph, rng), graph)
    marker.touch()


def draw_instruction(
    graph: SceneGraph, rng: np.random.Generator, *, held_out: bool = False
) -> TabletopInstruction:
    """An instruction of a random kind that the scene can give; one in five is absent."""
    absent = bool(rng.random() < _ABSENT_SHARE)
    moving = any(thing.motion for thing in graph)
    weights = np.array([one.share if moving else one.share_at_rest for one in _CATEGORIES])
    for index in rng.choice(len(_CATEGORIES), size=64, p=weights / weights.sum()):
        category = _CATEGORIES[index].name
        instruction = generate(graph, rng, category=category, absent=absent, held_out=held_out)
        if instruction is not None:
            return instruction
    raise ValueError('the scene gives no instruction of any kind')


def _write(
    store: SceneStore,
    processor: InstructSegProcessor,
    index: int,
    number: int,
    instruction: TabletopInstruction,
    graph: SceneGraph,
) -> None:
    slot_of = {thing.label: slot for slot, thing in enumerate(graph)}
    encoded = processor.tokenizer(
        instruction.text, add_special_tokens=False, return_offsets_mapping=True
    )
    words = [*encoded['input_ids'], processor.seg_token_id][:MAX_WORDS]
    store.words[index, number] = 0
    store.groups[index, number] = 0
    store.pointed[index, number] = 0
    store.words[index, number, : len(words)] = words
    store.kinds[index, number] = list(INSTRUCTION_CATEGORIES).index(instruction.category)
    roles = (instruction.targets, instruction.anchors, instruction.candidates)
    store.roles[index, number] = [sum(1 << slot_of[k] for k in role) for role in roles]
    for grounding in instruction.groundings:
        for position, (start, end) in enumerate(encoded['offset_mapping'][:MAX_WORDS]):
            if start < grounding.end and end > grounding.start:
                store.groups[index, number, position] = GROUPS.index(grounding.group) + 1
                for label, weight in grounding.weights.items():
                    store.pointed[index, number, position, slot_of[label]] = round(255 * weight)


_, _UNKNOWN, _END = range(len(SPECIAL_TOKENS))
_MIRRORED = {'left': 'right', 'leftmost': 'rightmost', 'leftwards': 'rightwards'}
_ATTRIBUTE, _MOTION = (GROUPS.index(name) + 1 for name in ('attribute', 'motion'))
_USE = list(INSTRUCTION_CATEGORIES).index('use')
_ALSO = {'you', 'me', 'that', 'is', 'for', 'the'}  # between phrases as well as in them
_MOST_ADDED = 3
MOST_MORE: Final = _MOST_ADDED + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shares:
    """How often words are disturbed.

    Args:
        hidden, replaced, dropped: of the words that point at nothing, those that become unknown
            (but for "thing" and the like), another such word, or nothing.
        blurred: of the words of longer nouns, uses and movements, those that become unknown.
        extended: of the instructions, those that get up to three more words that point at nothing.
        specified: of the instructions, those that get one more word before a noun or behind it.
        unheard: of the instructions, those one noun of which becomes unknown.
    """

    hidden: float = 0.08
    replaced: float = 0.05
    dropped: float = 0.05
    blurred: float = 0.04
    extended: float = 0.2
    specified: float = 0.25
    unheard: float = 0.04


@dataclasses.dataclass(kw_only=True)
class Words:
    """The words of one instruction, up to [SEG]: ids (R,), groups (R,) and pointed (R, S)."""

    ids: np.ndarray
    groups: np.ndarray
    pointed: np.ndarray

    def put(self, place: int, word: int) -> None:
        """Insert a word that points at nothing."""
        self.ids = np.insert(self.ids, place, word)
        self.groups = np.insert(self.groups, place, 0)
        self.pointed = np.insert(self.pointed, place, 0, axis=0)

    def take(self, kept: np.ndarray) -> None:
        """Leave out all other words."""
        self.ids, self.groups, self.pointed = self.ids[kept], self.groups[kept], self.pointed[kept]

    def inside(self) -> np.ndarray:
        """(R + 1,) whether a place is within a phrase that points as a whole."""
        alike = (self.groups[1:] == self.groups[:-1]) & (self.groups[1:] > 0)
        alike &= (self.pointed[1:] == self.pointed[:-1]).all(axis=-1)
        return np.concatenate([[False], alike, [True]])


class WordNoise:
    """Disturbs instructions in the ids of the embedded model's words."""

    def __init__(self, shares: Shares = Shares()) -> None:
        self._shares = shares
        numbers = {word: i for i, word in enumerate([*SPECIAL_TOKENS, *vocabulary()])}
        heads, modifiers = _nouns()
        self._nouns = _mask(numbers, heads | modifiers)
        self._heads = _mask(numbers, heads)
        # In place of a noun: an unknown word there would be a thing that nobody knows.
        self._things = _mask(
            numbers, _words((OBJECT_NOUNS, OBJECT_PLURALS)) | {'one', 'something', 'everything'}
        )
        told = _words(_telling()) | heads
        self._fillers = _ids(numbers, set(numbers) - set(SPECIAL_TOKENS) - told - modifiers | _ALSO)
        self._modifiers = _ids(numbers, (modifiers | _words(_used())) - heads - _words(_plain()))
        self.mirrored = np.arange(len(numbers))
        for one, other in _MIRRORED.items():
            self.mirrored[[numbers[one], numbers[other]]] = numbers[other], numbers[one]

    def disturb(
        self, words: Words, roles: np.ndarray, kind: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Disturb the words in place; return the (3,) bit sets of roles that they now mean."""
        shares = self._shares
        if kind != _USE and rng.random() < shares.unheard and self._unhear(words, rng):
            roles = np.where(np.arange(3) == ANCHORS, roles, 0)
        self._blur(words, rng)
        self._exchange(words, rng)
        if rng.random() < shares.specified:
            self._specify(words, rng)
        if rng.random() < shares.extended:
            self._extend(words, rng)
        return roles

    def _unhear(self, words: Words, rng: np.random.Generator) -> bool:
        """Make one noun unknown, whatever its length."""
        noun = (words.groups == _ATTRIBUTE) & self._nouns[words.ids]
        starts = np.flatnonzero(noun & ~words.inside()[:-1])
        if not len(starts):
            return False
        start = stop = int(rng.choice(starts))
        while words.inside()[stop + 1] and noun[stop + 1]:
            stop += 1
        words.ids[start : stop + 1] = _UNKNOWN
        words.pointed[start : stop + 1] = 0
        if rng.random() < 0.5:  # one unknown word in place of all
            gone = np.zeros(len(words.ids), dtype=bool)
            gone[start:stop] = True
            words.take(~gone)
        return True

    def _blur(self, words: Words, rng: np.random.Generator) -> None:
        inside = words.inside()
        inside[-1] = False
        longer = (inside[:-1] | inside[1:]) & np.isin(words.groups, (_ATTRIBUTE, _MOTION))
        words.ids[longer & (rng.random(len(longer)) < self._shares.blurred)] = _UNKNOWN

    def _exchange(self, words: Words, rng: np.random.Generator) -> None:
        """Hide, replace and drop words that point at nothing."""
        shares = self._shares
        free = (words.groups == 0) & (words.ids > _END)
        drawn = np.where(free, rng.random(len(free)), 1)
        words.ids[(drawn < shares.hidden) & ~self._things[words.ids]] = _UNKNOWN
        replaced = (drawn >= shares.hidden) & (drawn < shares.hidden + shares.replaced)
        words.ids[replaced] = rng.choice(self._fillers, int(replaced.sum()))
        dropped = (drawn > 1 - shares.dropped) & free
        words.take(~dropped)

    def _extend(self, words: Words, rng: np.random.Generator) -> None:
        place = int(rng.choice(np.flatnonzero(~words.inside())))
        for word in rng.choice(self._fillers, rng.integers(1, _MOST_ADDED + 1)):
            words.put(place, int(word))

    def _specify(self, words: Words, rng: np.random.Generator) -> None:
        """Say one noun with one more word, as in 'tea mug'."""
        nouns = np.flatnonzero((words.groups == _ATTRIBUTE) & self._heads[words.ids])
        if len(nouns):
            behind = rng.random() < 0.2
            word = _UNKNOWN if rng.random() < 0.3 else int(rng.choice(self._modifiers))
            words.put(int(rng.choice(nouns)) + behind, word)


@functools.lru_cache(maxsize=1)
def word_noise() -> WordNoise:
    """The noise of the usual shares."""
    return WordNoise()


def _nouns() -> tuple[set[str], set[str]]:
    """The last words of nouns, and the words before them."""
    heads, modifiers = set(), set()
    for wordings in NOUNS.values():
        for noun in wordings.trained:
            *before, last = noun.split()
            heads |= {last, pluralized(last)}
            modifiers |= set(before)
    return heads, modifiers - heads


def _plain() -> Iterable[Wordings]:
    """Wordings of what is no noun and no use."""
    yield from (*COLORS.values(), *SIZES.values())
    for superlative in SUPERLATIVES.values():
        yield from (superlative.before, superlative.after)
    yield from (relation.words for relation in RELATIONS.values())
    yield from motions.PARTICIPLES.values()
    yield from motions.FINITES.values()
    yield from motions.DIRECTIONS.values()


def _used() -> Iterable[Wordings]:
    for use in USES.values():
        yield from (use.actions, use.properties)


def _telling() -> Iterable[Wordings]:
    """Wordings of all that points at things, but for nouns."""
    yield from _plain()
    yield from _used()


def _words(wordings: Iterable[Wordings]) -> set[str]:
    return {word for one in wordings for text in one.trained for word in text.lower().split()}


def _ids(numbers: dict[str, int], words: set[str]) -> np.ndarray:
    return np.array(sorted(numbers[word] for word in words if word in numbers))


def _mask(numbers: dict[str, int], words: set[str]) -> np.ndarray:
    mask = np.zeros(len(numbers), dtype=bool)
    mask[_ids(numbers, words)] = True
    return mask
