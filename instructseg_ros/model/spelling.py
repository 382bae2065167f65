"""Repairs typing errors in instructions for a model whose vocabulary is a few hundred words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

MIN_LENGTH: Final = 3  # letters of a word that may be misspelt, and of what it is read as
_LONG: Final = 7  # letters from which a word may have two errors


def repair(
    text: str, unknown: Iterable[str], known: Collection[str], look_alikes: Collection[str]
) -> tuple[str, dict[str, str]]:
    """Replace unknown words by the only known word that they resemble, see `closest`.

    Args:
        text: The instruction.
        unknown: Its unknown words.
        known: Words of the model, in lower case.
        look_alikes: Words that resemble known words and are no typing errors: a boot is no book.

    Returns:
        The repaired text, and the replacement of each word that was replaced.
    """
    replaced = {}
    for word in unknown:
        other = None if word.lower() in look_alikes else closest(word.lower(), known)
        if other is not None:
            replaced[word] = other
            text = re.sub(rf'(?<!\w){re.escape(word)}(?!\w)', other, text)
    return text, replaced


def closest(word: str, known: Collection[str]) -> str | None:
    """Return the known word that differs by one typing error, or two in a long word.

    Among several, those with the same first letter come first, which people seldom mistype, then
    those that need a frequent kind of error; None if several remain.
    """
    for errors in range(1, most_errors(word) + 1):
        close = within(word, known, errors)
        close = [other for other in close if other[0] == word[0]] or close
        close = [other for other in close if _is_frequent_error(word, other)] or close
        if close:
            return close[0] if len(close) == 1 else None
    return None


def _is_frequent_error(word: str, other: str) -> bool:
    """Return whether letters are swapped or doubled, or one is left out."""
    single, meant = (re.sub(r'(.)\1+', r'\1', each) for each in (word, other))
    return single == meant or sorted(word) == sorted(other) or len(word) + 1 == len(other)


def most_errors(word: str) -> int:
    """Return how many typing errors a word may have: none if it has less than three letters."""
    return 0 if len(word) < MIN_LENGTH else 2 if len(word) >= _LONG else 1


def within(word: str, known: Collection[str], errors: int) -> list[str]:
    """Return the known words that differ from a word by at most so many typing errors.

    An error is a missing, additional or wrong letter, or two swapped ones (optimal string
    alignment). Without the library rapidfuzz, no word is close to another.
    """
    try:
        from rapidfuzz.distance import OSA
        from rapidfuzz.process import extract
    except ImportError:
        return []
    long = [other for other in known if len(other) >= MIN_LENGTH]
    found = extract(word, long, scorer=OSA.distance, score_cutoff=errors, limit=None)
    return [str(other) for other, _, _ in found]
