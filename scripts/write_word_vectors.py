"""Writes word_vectors.safetensors of tabletop/training: words outside the trained vocabulary.

Usage: python scripts/write_word_vectors.py YAML GLOVE, where YAML is the folder `src/yaml` of a
checkout of github.com/globalwordnet/english-wordnet, and GLOVE is the file glove.6B.50d.txt of
Stanford's GloVe word vectors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import save_file
from write_synonyms import WordNet

from instructseg_ros.tabletop.instructions import synonyms, vocabulary
from instructseg_ros.tabletop.instructions.wording import NOUNS

FILE: Final = (
    Path(__file__).resolve().parents[1]
    / 'instructseg_ros/tabletop/training/word_vectors.safetensors'
)
FREQUENT: Final = 7_000  # words that are taken because they are frequent
NEAR: Final = 9_000  # words that are taken because they resemble trained words
CLOSEST: Final = 5  # of so many trained words, the mean similarity counts
OBJECTS: Final = ('animal', 'artifact', 'food', 'plant', 'object', 'body')
LEVELS_ABOVE: Final = 4  # from "mug" up to "container"


def main(folder: str, glove: str) -> None:
    """Write vectors of the vocabulary and of frequent dictionary words, and which name objects."""
    lexicon = WordNet(Path(folder))
    wanted = lexicon.inflected() - synonyms().keys()
    vectors = dict(_read(Path(glove), wanted | {*vocabulary()}))
    known = [word for word in vectors if word in vocabulary()]
    others = _chosen(vectors, known)
    nouns = {noun for wordings in NOUNS.values() for noun in wordings.trained}
    senses = {sense for noun in nouns for sense in lexicon.senses(noun)}
    related = lexicon.related(senses, levels=LEVELS_ABOVE)
    held_out = {w for one in NOUNS.values() for text in one.held_out for w in text.split()}
    objects = [
        word
        for word in others
        if lexicon.names_one_of(word, OBJECTS)
        and not lexicon.senses(word) & related
        and word not in held_out
    ]
    table = np.stack([vectors[word] for word in (*known, *others)])
    table = (table - table.mean(axis=0)) / table.std()
    save_file(
        {'vectors': table.astype(np.float16)},
        FILE,
        {'trained': ' '.join(known), 'others': ' '.join(others), 'objects': ' '.join(objects)},
    )
    print(f'{len(known)} trained words, {len(others)} others, {len(objects)} name an object')


def _read(file: Path, wanted: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the wanted words with their vectors, the most frequent words first."""
    with file.open(encoding='utf-8') as lines:
        for line in lines:
            word, *numbers = line.rstrip().split(' ')
            if word in wanted and (len(word) > 2 or word in vocabulary()):
                yield word, np.array(numbers, np.float32)


def _chosen(vectors: dict[str, np.ndarray], known: list[str]) -> list[str]:
    """Return the most frequent other words, and those that resemble what is said about objects."""
    others = [word for word in vectors if word not in vocabulary()]
    centre = np.mean([*vectors.values()], axis=0)
    directions = {word: _unit(vector - centre) for word, vector in vectors.items()}
    rare = others[FREQUENT:]
    alike = np.stack([directions[w] for w in rare]) @ np.stack([directions[w] for w in known]).T
    alike = np.sort(alike, axis=1)[:, -CLOSEST:].mean(axis=1)
    near = {rare[index] for index in np.argsort(-alike)[:NEAR]}
    return [*others[:FREQUENT], *(word for word in rare if word in near)]


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


if __name__ == '__main__':
    main(*sys.argv[1:])
