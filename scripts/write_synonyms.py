"""Writes instructseg_ros/tabletop/instructions/synonyms.yaml from the Open English WordNet.

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

from instructseg_ros.tabletop.instructions import vocabulary
from instructseg_ros.tabletop.instructions.noun_phrase import pluralized
from instructseg_ros.tabletop.instructions.wording import COLORS, NOUNS

TABLE: Final = 'instructseg_ros/tabletop/instructions/synonyms.yaml'
NOUN, ADJECTIVE = 'n', 'as'  # parts of speech; s: satellite adjective
HEADER: Final = """\
# Synonyms of trained words, from the Open English WordNet (CC BY 4.0), which is derived from the
# Princeton WordNet. Written by scripts/write_synonyms.py.
"""


class WordNet:
    """The words of the dictionary and its sets of synonyms."""

    def __init__(self, folder: Path) -> None:
        self._words: dict[str, Any] = {}
        self._members: dict[str, list[str]] = {}
        self._qualities = set(_read(folder / 'noun.attribute.yaml'))
        for file in sorted(folder.glob('entries-*.yaml')):
            self._words |= _read(file)
        for file in sorted(folder.glob('[anv]*.yaml')):
            self._members |= {name: one['members'] for name, one in _read(file).items()}

    def synonyms(self, word: str, parts: str) -> Iterator[str]:
        """Yield the words that share their most frequent sense with `word`."""
        for sense in self._first_senses(word, parts):
            for other in self._members[sense]:
                if sense in self._first_senses(other, parts):
                    yield other

    def names_an_object(self, word: str) -> bool:
        """Return whether the most frequent sense of a noun is something other than a quality."""
        return not self._first_senses(word, NOUN) <= self._qualities

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
    root = Path(__file__).resolve().parents[1]
    (root / TABLE).write_text(HEADER + lines)


def _unknown(lexicon: WordNet, texts: Iterable[str], parts: str) -> dict[str, str]:
    """Map single words that occur in no training wording to their trained synonym."""
    return {
        other: text
        for text in texts
        for other in lexicon.synonyms(text, parts)
        if re.fullmatch('[a-z]+', other) and other not in vocabulary()
    }


def _read(file: Path) -> dict[str, Any]:
    return yaml.load(file.read_text(), yaml.CSafeLoader)


if __name__ == '__main__':
    main(*sys.argv[1:])
