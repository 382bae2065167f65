"""Parses instructions: a small network names the meaning and tags the words of each slot.

"There's a plate over here; what stands on its left, is that a mug?" has the meaning "left" with the
slots object: "mug" and anchor: "plate". The language model of an embedded model knows few sentence
structures but answers "the mug to the left of the plate" well, so an instruction whose meaning is
clear is put in such words, or split into simpler instructions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import nn

from instructseg_ros.model.composition import AllOf, Composition, InOrder, Nearest, OneOf, Without
from instructseg_ros.model.model_files import PARSER_WEIGHTS, ModelError
from instructseg_ros.model.phrase_patterns import COLOR, ORDINALS, all_of

NO_SLOT: Final = ''
SLOTS: Final = (
    *(NO_SLOT, 'object', 'anchor', 'anchor2', 'color', 'color2'),
    *('nth', 'number', 'side', 'first', 'second'),
)
_NUMBERS: Final = {'two': 2, 'three': 3, 'four': 4}
_PUNCTUATION: Final = ',.;:?!/'
_TOKEN: Final = re.compile(rf"[a-z0-9]+(?:['-][a-z0-9]+)*|[{_PUNCTUATION}]")
_KINDS: Final = ('other', 'noun', 'color')  # of words; every punctuation mark is a kind of its own
_HIDDEN: Final = 128
_OWN: Final = 32  # numbers that the parser itself learns about a word
# Patterns of what some slots may hold: nothing if the meaning does not have the slot.
_READABLE: Final = {
    'side': re.compile('|left|right'),
    'nth': re.compile(f'|{"|".join([*ORDINALS, *_NUMBERS])}|[1-9](?:st|nd|rd|th)?'),
    'number': re.compile(f'|{"|".join(_NUMBERS)}|[1-9]'),
}
_MIN_PROBABILITY: Final = 0.9  # of a meaning that is acted upon
_PLURAL: Final = re.compile('(?<![su])(?<!scissor)s$')
_CHOOSES: Final = re.compile(r'^(the (?!\{number)(?:[\w{}]+ )?[\w{}]+) \{object\}')

Compose = Callable[[Mapping[str, str]], Composition]


@dataclass(frozen=True)
class Meaning:
    """A meaning, and how the model is asked about it.

    Attributes:
        words: The instruction in words that the model knows well, with the slots in braces; '':
            the instruction's own words.
        compose: Splits it; None if it is not split.
    """

    words: str = ''
    compose: Compose | None = None

    @property
    def slots(self) -> frozenset[str]:
        """The slots that an instruction of this meaning must fill."""
        return frozenset(re.findall(r'\{(\w+)\}', self.words))


def _both(slots: Mapping[str, str]) -> Composition:
    return Composition(parts=(slots['first'], slots['second']), operation=AllOf())


def _either(slots: Mapping[str, str]) -> Composition:
    return Composition(parts=(slots['first'], slots['second']), operation=OneOf())


def _beside(slots: Mapping[str, str]) -> Composition:
    parts = (all_of(slots['object']), f'the {slots["anchor"]}')
    return Composition(parts=parts, operation=Nearest())


def _beside_anything(slots: Mapping[str, str]) -> Composition:
    return Composition(parts=('every object', f'the {slots["anchor"]}'), operation=Nearest())


def _without(slots: Mapping[str, str]) -> Composition:
    phrase = slots['object']
    colors = [slots[name] for name in ('color', 'color2') if name in slots]
    taken = (all_of(f'{color} {phrase}') for color in colors)
    return Composition(parts=(None, all_of(phrase), *taken), operation=Without())


def _without_kind(slots: Mapping[str, str]) -> Composition:
    parts = (None, all_of(slots['object']), all_of(slots['anchor']))
    return Composition(parts=parts, operation=Without())


def _nth(slots: Mapping[str, str], order: str = '') -> Composition:
    place = _place(slots['nth'])
    return _in_order(InOrder(order or slots['side'], first=place, last=place))(slots)


def _first(slots: Mapping[str, str], order: str = '') -> Composition:
    last = _place(slots['number'])
    return _in_order(InOrder(order or slots['side'], first=1, last=last))(slots)


def _place(word: str) -> int:
    """Read "second", "2nd", "two" or "2"."""
    return ORDINALS.get(word) or _NUMBERS.get(word) or int(word[0])


def _in_order(order: InOrder) -> Compose:
    return lambda slots: Composition(parts=(all_of(slots['object']), None), operation=order)


_MOST: Final = {
    name: Meaning(f'the {name} {{object}}')
    for name in ('leftmost', 'rightmost', 'nearest', 'farthest', 'largest', 'smallest')
}
_ORDERS: Final = {'largest': 'large', 'smallest': 'small', 'nearest': 'front', 'farthest': 'back'}
_RELATIONS: Final = {
    'left': 'to the left of',
    'right': 'to the right of',
    'behind': 'behind',
    'front': 'in front of',
    'on': 'on',
    'inside': 'in',
}
_USES: Final = (
    *('drink', 'pour tea', 'soup', 'cut', 'eat', 'read', 'write', 'play', 'roll', 'throw', 'drive'),
    *('hit', 'stir', 'serve', 'pack'),
)
_MOTIONS: Final = {
    'moving': 'moving',
    'left': 'moving to the left',
    'right': 'moving to the right',
    'towards': 'moving towards me',
    'away': 'moving away from me',
    'up': 'being lifted',
}
MEANINGS: Final[Mapping[str, Meaning]] = {
    'attribute': Meaning('the {color} {object}'),
    'plural': Meaning('all of {object}'),
    'request': Meaning('{object}'),
    **_MOST,
    **{
        name: Meaning(f'the {{object}} {words} the {{anchor}}')
        for name, words in _RELATIONS.items()
    },
    'between': Meaning('the {object} between the {anchor} and the {anchor2}'),
    'beside': Meaning('the {object} next to the {anchor}', _beside),
    'beside anything': Meaning('the thing next to the {anchor}', _beside_anything),
    **{f'use {name}': Meaning() for name in _USES},
    **{f'motion {name}': Meaning(f'the thing that is {words}') for name, words in _MOTIONS.items()},
    **{
        f'object {name}': Meaning(f'the {{object}} that is {words}')
        for name, words in _MOTIONS.items()
    },
    'both': Meaning('{first} and {second}', _both),
    'either': Meaning('{first} or {second}', _either),
    'nth': Meaning('the {nth} {object} from the {side}', _nth),
    'first of row': Meaning('the {number} {object} on the {side}', _first),
    **{
        f'nth {name}': Meaning(f'the {{nth}} {name} {{object}}', partial(_nth, order=order))
        for name, order in _ORDERS.items()
    },
    **{
        f'first {name}': Meaning(f'the {{number}} {name} {{object}}', partial(_first, order=order))
        for name, order in _ORDERS.items()
    },
    'middle': Meaning('the middle {object}', _in_order(InOrder('left', first=2, last=2, of=3))),
    'second largest': Meaning(
        'the second largest {object}', _in_order(InOrder('large', first=2, last=2))
    ),
    'second smallest': Meaning(
        'the second smallest {object}', _in_order(InOrder('small', first=2, last=2))
    ),
    'not color': Meaning('the {object} that is not {color}', _without),
    'neither': Meaning('the {object} that is neither {color} nor {color2}', _without),
    'other': Meaning('the {object} that is not {color}', _without),
    'not category': Meaning('the {object} that is not a {anchor}', _without_kind),
    'rest': Meaning('all the {object} that are not {color}', _without),
}


@dataclass(frozen=True, kw_only=True)
class ParsedInstruction:
    """An instruction in words that the model knows well.

    Attributes:
        text: The instruction.
        composition: The simpler instructions it is split into; None for a simple one.
    """

    text: str
    composition: Composition | None


class WordReader:
    """Turns the words of an instruction into input of the network.

    Args:
        vocabulary: Token ids of words in lower case.
        unknown: Token id of all other words.
        is_noun: Whether a word in lower case names an object that the model knows.
    """

    def __init__(
        self, vocabulary: Mapping[str, int], unknown: int, is_noun: Callable[[str], bool]
    ) -> None:
        self._vocabulary = vocabulary
        self.unknown = unknown
        self._is_noun = is_noun

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, is_noun: Callable[[str], bool]) -> WordReader:
        """Create a reader for the words of a model's tokenizer."""
        return cls(tokenizer.get_vocab(), tokenizer.unk_token_id, is_noun)

    def read(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """Return the token id of each word (0 for punctuation), and its kind."""
        ids = [
            0 if word in _PUNCTUATION else self._vocabulary.get(word, self.unknown)
            for word in words
        ]
        return ids, [self._kind(word) for word in words]

    def _kind(self, word: str) -> int:
        if word in _PUNCTUATION:
            return len(_KINDS) + _PUNCTUATION.index(word)
        if re.fullmatch(COLOR, word):
            return _KINDS.index('color')
        return _KINDS.index('noun' if self._is_noun(word) else 'other')


def split_words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, in lower case."""
    return _TOKEN.findall(text.lower().replace('\u2019', "'"))


class ParserNetwork(nn.Module):
    """Two bidirectional GRU layers over word embeddings, with a head for each of the two answers.

    Args:
        embeddings: (V, D) embeddings of the language model; not trained further.
        trained: Number of words, from the first, that get an embedding of their own as well.
    """

    def __init__(self, embeddings: torch.Tensor, trained: int, width: int = 96) -> None:
        super().__init__()
        self.register_buffer('embeddings', embeddings.detach().float(), persistent=False)
        self.trained = trained
        self.word = nn.Linear(embeddings.shape[1], width)
        self.own = nn.Embedding(trained, _OWN, padding_idx=0)
        self.widen = nn.Linear(_OWN, width, bias=False)
        self.kind = nn.Embedding(len(_KINDS) + len(_PUNCTUATION), width)
        self.dropout = nn.Dropout(0.25)
        self.gru = nn.GRU(width, _HIDDEN, 2, batch_first=True, bidirectional=True, dropout=0.25)
        self.slot = nn.Linear(2 * _HIDDEN, len(SLOTS))
        self.weight = nn.Linear(2 * _HIDDEN, 1)
        self.meaning = nn.Sequential(
            nn.Linear(4 * _HIDDEN, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, len(MEANINGS))
        )

    def forward(
        self, ids: torch.Tensor, kinds: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute (B, M) logits of the meanings and (B, R, S) logits of the words' slots.

        Args:
            ids: (B, R) int64 token ids of the words; 0 for punctuation and padding.
            kinds: (B, R) int64 kinds of the words, see `WordReader`.
            lengths: (B,) int64 numbers of words.
        """
        own = self.widen(self.own(torch.where(ids < self.trained, ids, 0)))
        words = self.dropout(self.word(self.embeddings[ids]) + own + self.kind(kinds))
        packed = nn.utils.rnn.pack_padded_sequence(
            words, lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        padding = (torch.arange(states.shape[1]) >= lengths[:, None])[..., None]
        weights = self.weight(states).masked_fill(padding, -1e4).softmax(dim=1)
        largest = states.masked_fill(padding, -1e4).amax(dim=1)
        summary = torch.cat([(weights * states).sum(dim=1), largest], dim=-1)
        return self.meaning(summary), self.slot(states)


class InstructionParser:
    """Parses instructions.

    Args:
        network: The trained network.
        reader: Reads words.
    """

    def __init__(self, network: ParserNetwork, reader: WordReader) -> None:
        self._network = network.eval().requires_grad_(False)
        self._reader = reader

    @classmethod
    def from_folder(
        cls, folder: Path, embeddings: torch.Tensor, reader: WordReader
    ) -> InstructionParser | None:
        """Load the parser of a model; None if it has none.

        Args:
            folder: Folder of the model.
            embeddings: (V, D) word embeddings of its language model.
            reader: Reads words.

        Raises:
            ModelError: The parser's file is of another version.
        """
        if not (folder / PARSER_WEIGHTS).is_file():
            return None
        weights = load_file(folder / PARSER_WEIGHTS)
        network = ParserNetwork(embeddings.cpu(), len(weights['own.weight']))
        try:
            network.load_state_dict({name: value.float() for name, value in weights.items()})
        except RuntimeError as error:
            raise ModelError(
                f'{folder / PARSER_WEIGHTS} is of another version: train it again with '
                f'scripts/train_instruction_parser.py'
            ) from error
        return cls(network, reader)

    def parse(self, text: str) -> ParsedInstruction | None:
        """Parse an instruction; None if its meaning is not clear."""
        words = split_words(text)
        if not words:
            return None
        meaning, slots = self._understand(words)
        if meaning is None or (meaning.words and meaning.slots != slots.keys()):
            return None
        if not all(pattern.fullmatch(slots.get(slot, '')) for slot, pattern in _READABLE.items()):
            return None
        composition = meaning.compose and meaning.compose(slots)
        return ParsedInstruction(text=_written(meaning, slots) or text, composition=composition)

    @torch.inference_mode()
    def _understand(self, words: Sequence[str]) -> tuple[Meaning | None, dict[str, str]]:
        """Return the meaning, None if it is doubtful, and the phrase in each slot."""
        ids, kinds = self._reader.read(words)
        meaning, slot = self._network(
            torch.tensor([ids]), torch.tensor([kinds]), torch.tensor([len(words)])
        )
        probability, index = meaning[0].softmax(dim=-1).max(dim=-1)
        tags = [SLOTS[number] for number in slot[0].argmax(dim=-1)]
        if probability < _MIN_PROBABILITY or _leaves_out(words, tags, kinds):
            return None, {}
        return list(MEANINGS.values())[int(index)], _phrases(words, tags)


def _leaves_out(words: Sequence[str], tags: Sequence[str], kinds: Sequence[int]) -> bool:
    """Return whether a color is in no slot: what it tells about the target would be lost."""
    return any(
        kind == _KINDS.index('color') and tag == NO_SLOT
        for kind, tag in zip(kinds, tags, strict=True)
    )


def _phrases(words: Sequence[str], tags: Sequence[str]) -> dict[str, str]:
    """Return the phrase in each slot, the first one if a slot occurs several times."""
    found: dict[str, str] = {}
    for tag, group in groupby(zip(tags, words, strict=True), key=lambda pair: pair[0]):
        found.setdefault(tag, ' '.join(word for _, word in group))
    found.pop(NO_SLOT, None)
    return found


def _written(meaning: Meaning, slots: Mapping[str, str]) -> str:
    """Return an instruction in the words of its meaning: "the largest of the mugs"."""
    if meaning is MEANINGS['plural']:
        return all_of(slots['object'])
    words = meaning.words
    if _PLURAL.search(slots.get('object', '')):
        words = _CHOOSES.sub(r'\1 of the {object}', words)
    return words.format(**slots)
