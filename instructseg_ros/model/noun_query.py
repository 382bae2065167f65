"""Reads which object an instruction names, with its color and place, for photographs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Final

COLORS: Final = (
    *('red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink'),
    *('brown', 'black', 'gray', 'white'),
)
SIDES: Final = ('left', 'right', 'top', 'bottom', 'middle')
SIZES: Final = ('largest', 'smallest')
_SAME: Final = {
    **{'grey': 'gray', 'violet': 'purple', 'golden': 'yellow', 'blonde': 'yellow'},
    **{'leftmost': 'left', 'rightmost': 'right', 'upper': 'top', 'topmost': 'top'},
    **{'nearest': 'bottom', 'closest': 'bottom', 'foremost': 'bottom', 'frontmost': 'bottom'},
    **{'farthest': 'top', 'furthest': 'top', 'rearmost': 'top', 'hindmost': 'top'},
    **{'lower': 'bottom', 'lowest': 'bottom', 'center': 'middle', 'centre': 'middle'},
    **{'big': 'largest', 'bigger': 'largest', 'biggest': 'largest', 'large': 'largest'},
    **{'larger': 'largest', 'small': 'smallest', 'smaller': 'smallest', 'little': 'smallest'},
}
# Before the noun that is meant, not before another noun: "watch the dog".
_DETERMINERS: Final = frozenset(
    [
        *('a', 'an', 'the', 'this', 'that', 'these', 'those', 'which', 'what', 'any', 'some'),
        *('my', 'your', 'his', 'her', 'our', 'their', 'every', 'each', 'all', 'both'),
        *('one', 'two', 'three'),
    ]
)
# "Something to drink", "can you watch".
_BEFORE_VERBS: Final = frozenset(('to', 'i', 'you', 'we', 'they', 'can', 'could', 'please'))
_VERB: Final = 3
# The answer would be the opposite of what is meant, or any of several.
_UNREAD: Final = re.compile(
    r'\b(?:not|never|without|except|excluding|minus|other|neither|nor|but|no|second|third|fourth|'
    r"fifth|2nd|3rd|4th|5th)\b|\w+n't\b"
)
_WORD: Final = re.compile(r"[a-z']+")
_LONGEST: Final = 4  # words of a noun


@dataclasses.dataclass(frozen=True, kw_only=True)
class NounQuery:
    """The object that an instruction names.

    Attributes:
        noun: The noun, as in the instruction.
        classes: Classes of the classifier that the noun names; none for a taught noun.
        taught: The noun in the form in which the model was taught it, or ''.
        color: One of `COLORS`, or ''.
        side: One of `SIDES`, or ''.
        size: One of `SIZES`, or ''.
        unread: A word that changes what is meant and is not understood here, such as "not" or
            "second", or ''.
    """

    noun: str
    classes: tuple[int, ...]
    taught: str = ''
    color: str = ''
    side: str = ''
    size: str = ''
    unread: str = ''


class NounReader:
    """Finds the noun in an instruction.

    Args:
        nouns: Nouns in lower case, with the classes that each names.
        taught: Nouns that the model was taught, in lower case and singular.
    """

    def __init__(self, nouns: Mapping[str, Sequence[int]], taught: Sequence[str] = ()) -> None:
        self._nouns = {**nouns, **dict.fromkeys(taught, ())}
        self._taught = frozenset(taught)
        self._taught_words = frozenset(word for noun in taught for word in noun.split())

    def read(self, text: str) -> NounQuery | None:
        """Return what an instruction names; None if it names nothing that the classifier knows."""
        words = _WORD.findall(text.lower().replace('\u2019', "'"))
        found = {start: self._at(words, start) for start in range(len(words))}
        nouns = {start: noun for start, noun in found.items() if noun[0] and noun[1] not in COLORS}
        # "The orange" is a fruit, "the orange cup" is not.
        places = nouns or {start: noun for start, noun in found.items() if noun[0]}
        ranks = {start: _rank(words, start) for start in places}
        start = min(ranks, key=lambda place: (ranks[place], place), default=-1)
        if start < 0 or ranks[start] == _VERB:
            return None
        length, noun = found[start]
        others = [_SAME.get(word, word) for word in [*words[:start], *words[start + length :]]]
        return NounQuery(
            noun=' '.join(words[start : start + length]),
            classes=tuple(self._nouns[noun]),
            taught=noun if noun in self._taught else '',
            color=_first(others, COLORS),
            side=_first(others, SIDES),
            size=_first(others, SIZES),
            unread=next(iter(_UNREAD.findall(text.lower())), ''),
        )

    def is_noun(self, word: str) -> bool:
        """Return whether a word in lower case is a known noun, or the plural of one."""
        return self._at([word], 0)[0] > 0

    def is_taught(self, word: str) -> bool:
        """Return whether a word in lower case belongs to a taught noun, or to its plural."""
        return any(form in self._taught_words for form in (word, *_singulars(word)))

    def _at(self, words: Sequence[str], start: int) -> tuple[int, str]:
        """Return the length and the known form of the longest noun that starts at a word.

        The length is 0 if there is none.
        """
        for length in range(min(_LONGEST, len(words) - start), 0, -1):
            text = ' '.join(words[start : start + length])
            for form in (text, *_singulars(text)):
                if form in self._nouns and text not in _SAME and text not in SIDES:
                    return length, form
        return 0, ''


def _singulars(noun: str) -> list[str]:
    endings = (('ies', 'y'), ('ves', 'f'), ('ves', 'fe'), ('es', ''), ('s', ''))
    known = {'mice': 'mouse', 'geese': 'goose', 'sheep': 'sheep'}
    forms = [noun.removesuffix(end) + more for end, more in endings if noun.endswith(end)]
    return [known[noun]] if noun in known else forms


def _rank(words: Sequence[str], start: int) -> int:
    """Return 0 for a noun after a determiner, perhaps with adjectives; `_VERB` for a verb."""
    if start and words[start - 1] in _BEFORE_VERBS:
        return _VERB
    while start and _SAME.get(words[start - 1], words[start - 1]) in COLORS + SIDES + SIZES:
        start -= 1
    if start and words[start - 1] in _DETERMINERS:
        return 0
    return 1 if start == 0 else 2


def _first(words: Sequence[str], wanted: Sequence[str]) -> str:
    return next((word for word in words if word in wanted), '')
