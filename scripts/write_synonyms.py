"""Writes synonyms.yaml and look_alikes.txt of tabletop/instructions from the Open English WordNet.

Usage: python scripts/write_synonyms.py YAML, where YAML is the folder `src/yaml` of a checkout of
github.com/globalwordnet/english-wordnet.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from instructseg_ros.model.spelling import most_errors, within
from instructseg_ros.tabletop.instructions import vocabulary
from instructseg_ros.tabletop.instructions.noun_phrase import pluralized
from instructseg_ros.tabletop.instructions.wording import COLORS, NOUNS

FOLDER: Final = Path(__file__).resolve().parents[1] / 'instructseg_ros/tabletop/instructions'
FUNCTION_WORDS: Final = re.findall(
    '[a-z]+',
    """
    a about after all although am among and another any anybody anyone are as at be because been
    before but by can could did do does each either else even ever every few for from had has have
    he hence her here hers herself him himself his how i if in into is it its itself just let
    many may me might mine more most much must my myself near neither no nobody none nor not of off
    often on once one only onto or other ought our ours out over own per quite rather same shall she
    should since so some such than that the their theirs them then there these they this those
    though through thus till to too toward unless until upon us very was we were what when where
    whether which while who whom whose why will with within would yet you your yours yourself
""",
)
NOUN, VERB, ADJECTIVE = 'n', 'v', 'as'  # parts of speech; s: satellite adjective
HEADER: Final = """\
# Synonyms of trained words, from the Open English WordNet (CC BY 4.0), which is derived from the
# Princeton WordNet. Written by scripts/write_synonyms.py.
"""


class WordNet:
    """The words of the dictionary and its sets of synonyms."""

    def __init__(self, folder: Path) -> None:
        self._words: dict[str, Any] = {}
        self._members: dict[str, list[str]] = {}
        self._above: dict[str, list[str]] = {}
        self._file_of: dict[str, str] = {}
        self._qualities = set(_read(folder / 'noun.attribute.yaml'))
        for file in sorted(folder.glob('entries-*.yaml')):
            self._words |= _read(file)
        for file in sorted(folder.glob('[anv]*.yaml')):
            senses = _read(file)
            self._members |= {name: one['members'] for name, one in senses.items()}
            self._above |= {name: one.get('hypernym', []) for name, one in senses.items()}
            self._file_of |= dict.fromkeys(senses, file.stem)

    def synonyms(self, word: str, parts: str) -> Iterator[str]:
        """Yield the words that share their most frequent sense with `word`."""
        for sense in self._first_senses(word, parts):
            for other in self._members[sense]:
                if sense in self._first_senses(other, parts):
                    yield other

    def names_an_object(self, word: str) -> bool:
        """Return whether the most frequent sense of a noun is something other than a quality."""
        return not self._first_senses(word, NOUN) <= self._qualities

    def names_one_of(self, word: str, topics: Iterable[str]) -> bool:
        """Return whether the most frequent sense of a noun belongs to topics such as "food"."""
        files = {f'noun.{topic}' for topic in topics}
        return any(self._file_of[sense] in files for sense in self._first_senses(word, NOUN))

    def senses(self, word: str) -> set[str]:
        """Return all senses of a noun."""
        entries = self._words.get(word, {}).items()
        return {
            one['synset'] for part, entry in entries if part[0] in NOUN for one in entry['sense']
        }

    def related(self, senses: set[str], *, levels: int) -> set[str]:
        """Return senses, those up to some levels above them, and all below them."""
        above = set(senses)
        for _ in range(levels):
            above |= {each for sense in above for each in self._above[sense]}
        below, count = set(senses), 0
        while len(below) > count:
            count = len(below)
            below |= {sense for sense, ups in self._above.items() if below.intersection(ups)}
        return above | below

    def inflected(self) -> set[str]:
        """Return all single words in lower case, with their plurals and verb forms."""
        words = set(FUNCTION_WORDS)
        for word, entries in self._words.items():
            if re.fullmatch('[a-z]+', word):
                words |= {word, *_forms(word, {part[0] for part in entries})}
            words |= {form for entry in entries.values() for form in entry.get('form', ())}
        return words

    def _first_senses(self, word: str, parts: str) -> set[str]:
        entries = self._words.get(word, {}).items()
        return {entry['sense'][0]['synset'] for part, entry in entries if part[0] in parts}


def main(folder: str) -> None:
    """Write the table."""
    lexicon = WordNet(Path(folder))
    nouns = _unknown(lexicon, (text for one in NOUNS.values() for text in one.trained), NOUN)
    colors = _unknown(lexicon, (text for one in COLORS.values() for text in one.trained), ADJECTIVE)
    # "The ruby" is a stone, not just something red.
    colors = {word: known for word, known in colors.items() if not lexicon.names_an_object(word)}
    plurals = {pluralized(word): pluralized(known) for word, known in nouns.items()}
    table = sorted({**nouns, **plurals, **colors}.items())
    lines = ''.join(f'{word}: {known}\n' for word, known in table)
    (FOLDER / 'synonyms.yaml').write_text(HEADER + lines)
    alike = sorted(_look_alikes(lexicon.inflected() - {*vocabulary(), *dict(table)}))
    (FOLDER / 'look_alikes.txt').write_text('\n'.join(alike) + '\n')


def _unknown(lexicon: WordNet, texts: Iterable[str], parts: str) -> dict[str, str]:
    """Map single words that occur in no training wording to their trained synonym."""
    return {
        other: text
        for text in texts
        for other in lexicon.synonyms(text, parts)
        if re.fullmatch('[a-z]+', other) and other not in vocabulary()
    }


def _forms(word: str, parts: set[str]) -> list[str]:
    """Return the regular plural of a noun, and the regular forms of a verb."""
    hisses = word.endswith(('s', 'x', 'z', 'ch', 'sh'))
    plural = re.sub('y$', 'ie', word) + ('es' if hisses else 's')
    if VERB not in parts:
        return [plural] if NOUN in parts else []
    stem = re.sub('e$', '', word)
    doubled = word + word[-1]  # stop, stopped
    return [plural, *(base + end for base in (stem, doubled) for end in ('ed', 'ing'))]


def _look_alikes(words: Iterable[str]) -> set[str]:
    """Return the words that could be mistaken for a misspelt word of the vocabulary."""
    return {word for word in words if within(word, vocabulary(), most_errors(word))}


def _read(file: Path) -> dict[str, Any]:
    return yaml.load(file.read_text(), yaml.CSafeLoader)


if __name__ == '__main__':
    main(*sys.argv[1:])
