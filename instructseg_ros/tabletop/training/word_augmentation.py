"""Draws training instructions, and augments their words so that unseen wordings are understood."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import trange

from instructseg_ros.model.embedded_model import SPECIAL_TOKENS
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.tabletop.instructions import (
    INSTRUCTION_CATEGORIES,
    TabletopInstruction,
    composed_words,
    generate,
)
from instructseg_ros.tabletop.instructions import movement as motions
from instructseg_ros.tabletop.instructions.generate import WORD
from instructseg_ros.tabletop.instructions.noun_phrase import pluralized
from instructseg_ros.tabletop.instructions.relation import RELATIONS
from instructseg_ros.tabletop.instructions.superlative import SUPERLATIVES
from instructseg_ros.tabletop.instructions.use import USES
from instructseg_ros.tabletop.instructions.wording import (
    COLORS,
    NOUNS,
    OBJECT_NOUNS,
    OBJECT_PLURALS,
    PLURAL_REQUESTS,
    SINGULAR_REQUESTS,
    SIZES,
    Wordings,
)
from instructseg_ros.tabletop.training.scene_store import ANCHORS, MAX_WORDS, SceneStore
from instructseg_ros.tabletop.training.word_vectors import all_words, word_vectors
from instructseg_ros.tabletop.world.scene_graph import SceneGraph

GROUPS: Final = ('attribute', 'superlative', 'relation', 'motion')
_MARKED: Final = (*GROUPS, 'fixed')
_ABSENT_SHARE = 0.2
_CATEGORIES: Final = tuple(INSTRUCTION_CATEGORIES.values())


def write_instructions(store: SceneStore, processor: InstructSegProcessor, *, seed: int) -> None:
    """Draw and store the instructions of all scenes unless an earlier call left its marker file."""
    marker = store.folder / 'instructions.done'
    if marker.exists():
        return
    for index in trange(store.shape.scenes, desc='instructions'):
        rng = np.random.default_rng((seed, index))
        graph = store.read_graph(index)
        for number in range(store.shape.instructions):
            _write(store, processor, index, number, draw_instruction(graph, rng), graph)
    marker.touch()


def draw_instruction(graph: SceneGraph, rng: np.random.Generator) -> TabletopInstruction:
    """Draw an instruction of a random category; one in five has an absent target.

    Raises:
        ValueError: No category has an instruction for the scene.
    """
    absent = bool(rng.random() < _ABSENT_SHARE)
    moving = any(each.motion for each in graph)
    weights = np.array([one.share if moving else one.share_at_rest for one in _CATEGORIES])
    for index in rng.choice(len(_CATEGORIES), size=64, p=weights / weights.sum()):
        category = _CATEGORIES[index].name
        instruction = generate(graph, rng, category=category, absent=absent)
        if instruction is not None:
            return instruction
    raise ValueError('no category has an instruction for this scene')


def _write(
    store: SceneStore,
    processor: InstructSegProcessor,
    index: int,
    number: int,
    instruction: TabletopInstruction,
    graph: SceneGraph,
) -> None:
    slot_of = {each.label: slot for slot, each in enumerate(graph)}
    encoded = processor.tokenizer(
        instruction.text, add_special_tokens=False, return_offsets_mapping=True
    )
    words = [*encoded['input_ids'], processor.seg_token_id][:MAX_WORDS]
    store.words[index, number] = 0
    store.groups[index, number] = 0
    store.groundings[index, number] = 0
    store.words[index, number, : len(words)] = words
    store.categories[index, number] = list(INSTRUCTION_CATEGORIES).index(instruction.category)
    roles = (instruction.targets, instruction.anchors, instruction.candidates)
    store.roles[index, number] = [sum(1 << slot_of[k] for k in role) for role in roles]
    for grounding in instruction.groundings:
        for position, (start, end) in enumerate(encoded['offset_mapping'][:MAX_WORDS]):
            if start < grounding.end and end > grounding.start:
                store.groups[index, number, position] = _MARKED.index(grounding.group) + 1
                for label, weight in grounding.weights.items():
                    store.groundings[index, number, position, slot_of[label]] = round(255 * weight)


_, _UNKNOWN, _END = range(len(SPECIAL_TOKENS))
_MIRRORED = {
    'left': 'right',
    'leftmost': 'rightmost',
    'leftward': 'rightward',
    'leftwards': 'rightwards',
}
_ATTRIBUTE, _MOTION = (GROUPS.index(name) + 1 for name in ('attribute', 'motion'))
_USE = list(INSTRUCTION_CATEGORIES).index('use')
# Words that occur both between phrases and within them.
_FUNCTION_WORDS = {'you', 'me', 'that', 'is', 'for', 'the'}
_MAX_EXTENSION = 3
_MAX_CLAUSE = 32  # words of a clause that does not matter
_RANDOM_CLAUSES = 0.4  # share of clauses that consist of random words
_UNKNOWN_IN_CLAUSE = 0.2
_OTHERS_IN_CLAUSE = 0.5
_TWO_CLAUSES = 0.3  # share of lengthened instructions with a clause at both ends
_MAX_LENGTH = 64  # words with all clauses
MAX_ADDED: Final = _MAX_LENGTH - MAX_WORDS
_SIMILAR = 0.6  # cosine from which a word may mean the same as a word with a grounding
_CLAUSES: Final = Path(__file__).parent / 'clauses.txt'


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationRates:
    """Probabilities of the changes to an instruction's words.

    Args:
        hidden: A word without a grounding becomes unknown or another word of the dictionary, unless
            it acts as a noun ("one").
        replaced: A word without a grounding becomes another such word.
        dropped: A word without a grounding is removed.
        blurred: A word of a phrase with several words (noun, use, movement) becomes unknown.
        extended: An instruction gets up to three more words without a grounding.
        lengthened: An instruction of a long batch gets one or two clauses that do not matter.
        specified: An instruction gets one more word before or after a noun.
        unknown_noun: One noun becomes unknown or names an object that is in no scene, so that the
            instruction has no target any more.
    """

    hidden: float = 0.08
    replaced: float = 0.05
    dropped: float = 0.05
    blurred: float = 0.04
    extended: float = 0.2
    lengthened: float = 0.5
    specified: float = 0.25
    unknown_noun: float = 0.05


@dataclasses.dataclass(kw_only=True)
class Words:
    """Words of one instruction, including the final [SEG].

    Attributes:
        ids: (R,) token ids.
        groups: (R,) 0 for words that may be exchanged, else group + 1; the group after `GROUPS` is
            that of words which describe no object but must not be exchanged.
        groundings: (R, S) how well each word describes each object, 0 to 255.
    """

    ids: np.ndarray
    groups: np.ndarray
    groundings: np.ndarray

    def insert(self, place: int, *added: int) -> None:
        """Insert words without a grounding."""
        places = [place] * len(added)
        self.ids = np.insert(self.ids, places, added)
        self.groups = np.insert(self.groups, places, 0)
        self.groundings = np.insert(self.groundings, places, 0, axis=0)

    def keep(self, kept: np.ndarray) -> None:
        """Keep only the words for which `kept` (R,) is True."""
        self.ids, self.groups, self.groundings = (
            self.ids[kept],
            self.groups[kept],
            self.groundings[kept],
        )

    def inside(self) -> np.ndarray:
        """Return (R + 1,) whether each gap lies within one grounded phrase; True after [SEG]."""
        alike = (self.groups[1:] == self.groups[:-1]) & (self.groups[1:] > 0)
        alike &= (self.groundings[1:] == self.groundings[:-1]).all(axis=-1)
        return np.concatenate([[False], alike, [True]])


class WordAugmentation:
    """Changes the words of instructions, which are token ids of the embedded model.

    Attributes:
        mirrored: Token id of each word's mirror image: "right" for "left", itself for "red".
    """

    def __init__(self, rates: AugmentationRates = AugmentationRates()) -> None:
        self._rates = rates
        numbers = {word: i for i, word in enumerate([*SPECIAL_TOKENS, *all_words()])}
        heads, modifiers = _nouns()
        self._nouns = _mask(numbers, heads | modifiers)
        self._heads = _mask(numbers, heads)
        # Words that stand for a noun: in their place, an unknown word would mean an unknown object.
        pronouns = _words((OBJECT_NOUNS, OBJECT_PLURALS)) | {'one', 'something', 'everything'}
        self._pronouns = _mask(numbers, pronouns)
        grounded = _words(_plain()) | _words(_uses()) | heads
        # Words that change the meaning of an instruction: "not", "or", "second".
        structural = _structural()
        self._structural = _mask(numbers, structural)
        fillers = composed_words() - grounded - modifiers - structural
        self._fillers = _ids(numbers, fillers | _FUNCTION_WORDS)
        objects = word_vectors().objects
        self._unknown_nouns = _ids(numbers, set(objects))
        meaningful = grounded | modifiers | structural
        self._others = _ids(numbers, _unlike(meaningful) - objects)
        self._clauses = [
            np.array([numbers.get(word, _UNKNOWN) for word in WORD.findall(line.lower())])
            for line in _CLAUSES.read_text().splitlines()
        ]
        self._modifiers = _ids(numbers, (modifiers | _words(_uses())) - heads - _words(_plain()))
        self.mirrored = np.arange(len(numbers))
        for one, other in _MIRRORED.items():
            self.mirrored[[numbers[one], numbers[other]]] = numbers[other], numbers[one]

    def augment(
        self,
        words: Words,
        roles: np.ndarray,
        category: int,
        rng: np.random.Generator,
        *,
        long: bool = False,
    ) -> np.ndarray:
        """Change the words in place; return the new (3,) roles, each a bit set of objects.

        Args:
            words: The instruction.
            roles: (3,) bit sets of objects.
            category: Index of the instruction's category.
            rng: Random source.
            long: Whether the instruction may get clauses that do not matter.
        """
        rates = self._rates
        if category != _USE and rng.random() < rates.unknown_noun and self._hide_noun(words, rng):
            roles = np.where(np.arange(3) == ANCHORS, roles, 0)
        self._blur(words, rng)
        self._exchange(words, rng)
        if rng.random() < rates.specified:
            self._specify(words, rng)
        if rng.random() < rates.extended:
            self._insert(words, rng.choice(self._fillers, rng.integers(1, _MAX_EXTENSION + 1)), rng)
        if long and rng.random() < rates.lengthened:
            self._lengthen(words, rng)
        return roles

    def _hide_noun(self, words: Words, rng: np.random.Generator) -> bool:
        """Make all words of one noun unknown; return whether there was a noun."""
        noun = (words.groups == _ATTRIBUTE) & self._nouns[words.ids]
        starts = np.flatnonzero(noun & ~words.inside()[:-1])
        if not len(starts):
            return False
        start = stop = int(rng.choice(starts))
        while words.inside()[stop + 1] and noun[stop + 1]:
            stop += 1
        words.ids[start : stop + 1] = _UNKNOWN
        if rng.random() < 0.7:
            words.ids[stop] = rng.choice(self._unknown_nouns)
        words.groundings[start : stop + 1] = 0
        if rng.random() < 0.7:  # replace them by one word
            gone = np.zeros(len(words.ids), dtype=bool)
            gone[start:stop] = True
            words.keep(~gone)
        return True

    def _blur(self, words: Words, rng: np.random.Generator) -> None:
        inside = words.inside()
        inside[-1] = False
        longer = (inside[:-1] | inside[1:]) & np.isin(words.groups, (_ATTRIBUTE, _MOTION))
        words.ids[longer & (rng.random(len(longer)) < self._rates.blurred)] = _UNKNOWN

    def _exchange(self, words: Words, rng: np.random.Generator) -> None:
        """Hide, replace and drop words without a grounding."""
        rates = self._rates
        free = (words.groups == 0) & (words.ids > _END) & ~self._structural[words.ids]
        drawn = np.where(free, rng.random(len(free)), 1)
        hidden = (drawn < rates.hidden) & ~self._pronouns[words.ids]
        words.ids[hidden] = self._unfamiliar(int(hidden.sum()), rng)
        replaced = (drawn >= rates.hidden) & (drawn < rates.hidden + rates.replaced)
        words.ids[replaced] = rng.choice(self._fillers, int(replaced.sum()))
        dropped = (drawn > 1 - rates.dropped) & free
        words.keep(~dropped)

    def _insert(self, words: Words, added: np.ndarray, rng: np.random.Generator) -> None:
        """Insert words without a grounding at one place outside the phrases."""
        words.insert(int(rng.choice(np.flatnonzero(~words.inside()))), *added)

    def _lengthen(self, words: Words, rng: np.random.Generator) -> None:
        """Add a clause before or after the instruction, or both, as far as there is room."""
        both = rng.random() < _TWO_CLAUSES
        before = rng.random() < 0.5
        for first in (before, not before) if both else (before,):
            clause = self._clause(rng)
            room = _MAX_LENGTH - len(words.ids)
            if len(clause) <= room:
                # [SEG] stays the last word.
                words.insert(0 if first else len(words.ids) - 1, *clause)

    def _clause(self, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= _RANDOM_CLAUSES:
            clause = self._clauses[int(rng.integers(len(self._clauses)))].copy()
            replaced = rng.random(len(clause)) < self._rates.hidden
            clause[replaced] = self._unfamiliar(int(replaced.sum()), rng)
            return clause
        clause = rng.choice(self._fillers, int(rng.integers(4, _MAX_CLAUSE + 1)))
        other = rng.random(len(clause)) < _OTHERS_IN_CLAUSE
        clause[other] = self._unfamiliar(int(other.sum()), rng)
        return clause

    def _unfamiliar(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw words that no instruction teaches, some of them unknown."""
        drawn = rng.choice(self._others, count)
        drawn[rng.random(count) < _UNKNOWN_IN_CLAUSE] = _UNKNOWN
        return drawn

    def _specify(self, words: Words, rng: np.random.Generator) -> None:
        """Add a word to one noun, as in 'tea mug'."""
        nouns = np.flatnonzero((words.groups == _ATTRIBUTE) & self._heads[words.ids])
        if len(nouns):
            after = rng.random() < 0.2
            word = int(rng.choice(self._modifiers))
            if rng.random() < 0.3:
                word = int(self._unfamiliar(1, rng)[0])
            words.insert(int(rng.choice(nouns)) + after, word)


@functools.lru_cache(maxsize=1)
def default_augmentation() -> WordAugmentation:
    """Return the augmentation with the default rates."""
    return WordAugmentation()


def _nouns() -> tuple[set[str], set[str]]:
    """Return the last words of nouns, and the words before them."""
    heads, modifiers = set(), set()
    for wordings in NOUNS.values():
        for noun in wordings.trained:
            *before, last = noun.split()
            heads |= {last, pluralized(last)}
            modifiers |= set(before)
    return heads, modifiers - heads


def _plain() -> Iterable[Wordings]:
    """Yield the wordings with a grounding that are neither nouns nor uses."""
    yield from (*COLORS.values(), *SIZES.values())
    for superlative in SUPERLATIVES.values():
        yield from (superlative.before, superlative.after)
    yield from (relation.words for relation in RELATIONS.values())
    yield from motions.PARTICIPLES.values()
    yield from motions.FINITES.values()
    yield from motions.DIRECTIONS.values()


def _uses() -> Iterable[Wordings]:
    for use in USES.values():
        yield from (use.actions, use.properties)


def _structural() -> set[str]:
    """Return "not" and the words that only negation, order and several targets are about."""
    words: dict[bool, set[str]] = {False: set(), True: set()}
    for category in _CATEGORIES:
        own = {word for text in category.wordings for word in _words([text])}
        words[category.name in ('negation', 'compound', 'ordinal', 'comparison')] |= own
    requests = _words([SINGULAR_REQUESTS, PLURAL_REQUESTS])
    return {'not'} | {word.strip(',') for word in words[True] - words[False] - requests}


def _unlike(meaningful: set[str]) -> set[str]:
    """Return the words outside the vocabulary whose vectors resemble none of these words."""
    known = word_vectors()
    table = np.stack([known.vectors[word] for word in known.others])
    wanted = np.stack([known.vectors[word] for word in sorted(meaningful) if word in known.vectors])
    table, wanted = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (table, wanted))
    near = (table @ wanted.T).max(axis=1) >= _SIMILAR
    return {word for word, close in zip(known.others, near, strict=True) if not close}


def _words(wordings: Iterable[Wordings]) -> set[str]:
    return {word for one in wordings for text in one.trained for word in text.lower().split()}


def _ids(numbers: dict[str, int], words: Iterable[str]) -> np.ndarray:
    return np.array(sorted(numbers[word] for word in words if word in numbers))


def _mask(numbers: dict[str, int], words: set[str]) -> np.ndarray:
    mask = np.zeros(len(numbers), dtype=bool)
    mask[_ids(numbers, words)] = True
    return mask
