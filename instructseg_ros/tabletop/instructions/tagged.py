"""Sentences whose meaning and slots are known, for training the parser of instructions.

They are paraphrases and wordings of the grammar, filled with random noun phrases; no scene is
needed. Every word is tagged with the slot that it fills.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from instructseg_ros.model.instruction_parser import NO_SLOT, split_words
from instructseg_ros.tabletop.instructions import (
    compound,
    movement,
    negation,
    order,
    relation,
    superlative,
    wording,
)
from instructseg_ros.tabletop.instructions.noun_phrase import pluralized
from instructseg_ros.tabletop.instructions.wording import (
    PARAPHRASES,
    PLURAL_REQUESTS,
    SINGULAR_REQUESTS,
    SLOT,
    Wordings,
)

_PARAPHRASES: Final = 0.72  # share of sentences that are paraphrases; the others use the grammar
_PLAIN: Final = 0.08  # share of requests for a noun phrase and nothing else
_BARE: Final = 0.35  # share of the grammar's noun phrases that stand alone
_OWN_NOUNS: Final = 0.6  # share of nouns that are those of the tabletop
_BEFORE_NOUN: Final = (
    *('old', 'wooden', 'plastic', 'shiny', 'broken', 'clean', 'metal', 'round', 'toy', 'coffee'),
    *('tea', 'water', 'soup', 'soda', 'gift', 'story', 'rubber', 'bread', 'table', 'kitchen'),
)
_PLACES: Final = ('second', 'second', 'second', 'third', 'third', 'fourth', '2nd', '3rd', '4th')
_ANY_NOUN: Final = ('thing', 'object', 'item', 'one')
_COLORS: Final = (*wording.COLORS, 'violet', 'grey', 'crimson')
_DETERMINERS: Final = ('the', 'the', 'the', 'the', 'a', 'my', 'that', 'this', 'your', 'some')
_ALL: Final = ('all the', 'every one of the', 'the', 'both', 'two')
_PLACES_OF_THINGS: Final = ('on the table', 'over there', 'in the corner')
_DETAILS: Final = ('', '', '', 'color', 'color', 'color', 'size', 'size color')
_SLOT_OF: Final = {'objects': 'object', 'it': 'object', 'count': 'nth'}
# The larger one of two things is the largest.
_SAME: Final = {f'{name} of two': name for name in superlative.SUPERLATIVES}
_SEVERAL: Final = frozenset(
    ['both', 'plural', 'first of row', 'rest', *(f'first {name}' for name in order.MOST)]
)
_TEMPLATES: Final = {
    'nth': order.FROM_SIDE,
    'middle': order.MIDDLE,
    'first of row': order.FIRST_ON_SIDE,
    'both': compound.BOTH,
    'either': compound.EITHER,
    'plural': compound.ALL_OF,
    'not color': negation.NOT_COLOR,
    'neither': negation.NEITHER,
    'rest': negation.WORDINGS['rest'],
    'not category': negation.NOT_CATEGORY,
}
_RENAMED: Final = {'{a_no}': 'a {color}', '{no}': '{color}', '{nor}': '{color2}'}
_T = TypeVar('_T')


@dataclass(frozen=True, kw_only=True)
class TaggedSentence:
    """A sentence.

    Attributes:
        meaning: A key of `MEANINGS`.
        words: Its words and punctuation marks, in lower case.
        slots: The slot that each word fills, or `NO_SLOT`.
    """

    meaning: str
    words: tuple[str, ...]
    slots: tuple[str, ...]


class SentenceWriter:
    """Draws tagged sentences.

    Args:
        nouns: Nouns to ask for besides those of the tabletop.
        held_out: Draw wordings that are held out of training.
    """

    def __init__(
        self, nouns: Sequence[str], rng: np.random.Generator, *, held_out: bool = False
    ) -> None:
        self._nouns = nouns
        self._own = [noun for words in wording.NOUNS.values() for noun in words.trained]
        self._rng = rng
        self._held_out = held_out

    def draw(self) -> TaggedSentence:
        """Draw a sentence."""
        kind = self._rng.random()
        if kind < _PARAPHRASES:
            meaning = self._choice([*PARAPHRASES])
            return self.filled(meaning, self._pick(PARAPHRASES[meaning]))
        if kind < _PARAPHRASES + _PLAIN:
            return self.filled('request', self._pick(SINGULAR_REQUESTS))
        meaning, template = self._composed()
        if not self._chance(_BARE):
            requests = [PLURAL_REQUESTS]
            if meaning not in _SEVERAL:
                requests = [SINGULAR_REQUESTS, PARAPHRASES['request']]
            template = self._pick(self._choice(requests)).replace('{it}', template)
        return self.filled(meaning, template)

    def filled(self, meaning: str, template: str) -> TaggedSentence:
        """Fill the slots of a template."""
        fillings = self._fillings(colored='{color}' not in template)
        words: list[str] = []
        slots: list[str] = []
        for number, part in enumerate(SLOT.split(template)):
            added = split_words(fillings[part] if number % 2 else part)
            words += added
            slots += [_SLOT_OF.get(part, part) if number % 2 else NO_SLOT] * len(added)
        return TaggedSentence(
            meaning=_SAME.get(meaning, meaning), words=tuple(words), slots=tuple(slots)
        )

    def _fillings(self, *, colored: bool) -> Mapping[str, str]:
        colors = self._rng.permutation(_COLORS)
        state = self._rng.bit_generator.state
        noun_phrase = self._noun_phrase(colored=not colored)
        self._rng.bit_generator.state = state
        plural = self._noun_phrase(colored=not colored, plural=True)
        return {
            'object': noun_phrase,
            'objects': plural,
            'anchor': self._noun_phrase(),
            'anchor2': self._noun_phrase(),
            'color': str(colors[0]),
            'color2': str(colors[1]),
            'nth': self._choice(_PLACES),
            'number': self._choice(['two', 'three', 'four']),
            'count': self._choice(['two', 'three', 'four']),
            'side': self._choice(['left', 'right']),
            **{slot: self._whole_phrase() for slot in ('first', 'second', 'it')},
        }

    def _noun_phrase(self, *, colored: bool = True, plural: bool = False) -> str:
        noun = self._choice(self._own if self._chance(_OWN_NOUNS) else self._nouns)
        noun = self._choice(_ANY_NOUN) if self._chance(0.15) else noun
        if self._chance(0.12):
            noun = f'{self._choice(_BEFORE_NOUN)} {noun}'
        details = self._choice(_DETAILS if colored else ('', '', 'size'))
        before = not details or self._chance(0.85)
        patterns = wording.BEFORE_NOUN if before else wording.AFTER_NOUN
        return SLOT.sub(
            lambda slot: {
                'noun': pluralized(noun) if plural else noun,
                'color': self._color(),
                'size': self._pick(wording.SIZES[self._choice([*wording.SIZES])]),
                'is': 'are' if plural else 'is',
            }[slot[1]],
            self._pick(patterns[details]),
        )

    def _color(self) -> str:
        color = self._choice(_COLORS)
        return f'{self._choice(["light", "dark"])} {color}' if self._chance(0.03) else color

    def _whole_phrase(self) -> str:
        """Draw a noun phrase with its determiner, for one thing or for several."""
        kind = self._rng.random()
        if kind < 0.12:
            return f'{self._choice(_ALL)} {self._noun_phrase(plural=True)}'
        if kind < 0.16:
            return f'the {self._color()} one'
        phrase = f'{self._choice(_DETERMINERS)} {self._noun_phrase()}'
        return f'{phrase} {self._choice(_PLACES_OF_THINGS)}' if kind < 0.24 else phrase

    def _composed(self) -> tuple[str, str]:
        """Draw a meaning and a noun phrase of the grammar for it, with slots."""
        kind = self._choice(
            [*_TEMPLATES, *['relation'] * 4, *['superlative', 'motion', 'rank'] * 2]
        )
        if kind in _TEMPLATES:
            template = self._pick(_TEMPLATES[kind])
            for slot, name in _RENAMED.items():
                template = template.replace(slot, name)
            if kind == 'not category':
                template = template.replace('{color}', '{anchor}')
            return kind, template.replace('{number}', '{count}') if kind == 'nth' else template
        if kind == 'relation':
            return self._relation()
        draw = {'superlative': self._superlative, 'motion': self._motion, 'rank': self._rank}
        return draw[kind]()

    def _relation(self) -> tuple[str, str]:
        name = self._choice([*relation.RELATIONS])
        anchors = 'the {anchor} and the {anchor2}' if name == 'between' else 'the {anchor}'
        place = f'{self._pick(relation.RELATIONS[name].words)} {anchors}'
        return name, self._pick(relation.PATTERNS).replace('{place}', place)

    def _superlative(self) -> tuple[str, str]:
        name = self._choice([*superlative.SUPERLATIVES])
        words = superlative.SUPERLATIVES[name]
        if self._chance(0.3):
            more = self._pick(order.MORE_AFTER[name])
            return name, self._pick(order.OF_TWO_AFTER).replace('{more}', more)
        if self._chance(0.5):
            first, patterns = words.before, superlative.BEFORE_NOUN
        else:
            first, patterns = words.after, superlative.AFTER_NOUN
        return name, self._pick(patterns).replace('{first}', self._pick(first))

    def _rank(self) -> tuple[str, str]:
        name = self._choice([*order.MOST])
        most = self._pick(order.MOST[name])
        if self._chance(0.4):
            return f'first {name}', self._pick(order.FIRST_BY_MEASURE).replace('{most}', most)
        template = self._pick(order.BY_MEASURE).replace('{most}', most)
        if name in ('largest', 'smallest') and self._chance(0.5):
            return f'second {name}', template.replace('{nth}', 'second').replace('{number}', 'two')
        return f'nth {name}', template.replace('{number}', '{count}')

    def _motion(self) -> tuple[str, str]:
        direction = self._choice([*movement.DIRECTIONS, 'moving'])
        verb = {'moving': 'move at all', 'up': 'rise'}.get(direction, 'move')
        words = self._pick(movement.PARTICIPLES[verb])
        if verb == 'move':
            words = f'{words} {self._pick(movement.DIRECTIONS[direction])}'
        return f'object {direction}', self._pick(movement.AFTER_NOUN).replace('{moving}', words)

    def _pick(self, wordings: Wordings) -> str:
        held_out = self._held_out and bool(wordings.held_out)
        return self._choice(wordings.held_out if held_out else wordings.trained)

    def _choice(self, options: Sequence[_T]) -> _T:
        return options[int(self._rng.random() * len(options))]

    def _chance(self, probability: float) -> bool:
        return bool(self._rng.random() < probability)
