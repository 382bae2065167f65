"""Writes nouns.json: the ImageNet classes that each noun names, by WordNet's hypernyms.

Usage: python scripts/write_noun_classes.py YAML INFO OUTPUT, where YAML is the folder `src/yaml` of
a checkout of github.com/globalwordnet/english-wordnet, and INFO is the folder `timm/data/_info` of
github.com/huggingface/pytorch-image-models.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

MAX_CLASSES: Final = 400  # of the 1000; "animal" has 398, "artifact" more
MAX_SENSE: Final = 4  # a noun names what one of its most frequent senses names
LEFT_OUT: Final = {'thing', 'object', 'unit', 'whole', 'matter', 'being', 'organism', 'individual'}

# Other names of what the classes' pictures show; ImageNet's "cup" is not a vessel in WordNet.
ALSO: Final = {
    'cup': ('coffee mug', 'cup', 'espresso'),
    'mug': ('coffee mug', 'cup'),
    'tv': ('television', 'screen'),
    'train': ('bullet train', 'passenger car', 'freight car', 'locomotive'),
    'phone': ('cellular telephone', 'dial telephone', 'pay-phone'),
    'motorbike': ('motorcycle', 'motor scooter'),
    'motorcycle': ('motorcycle', 'motor scooter'),
    'sofa': ('studio couch',),
    'bag': ('backpack', 'purse', 'shopping bag', 'mailbag', 'plastic bag'),
    'book': ('book jacket', 'comic book', 'menu'),
    'computer': ('laptop', 'desktop computer', 'monitor', 'notebook'),
    'screen': ('screen', 'monitor', 'television'),
    'sailboat': ('yawl', 'schooner', 'catamaran', 'trimaran'),
    'ship': ('liner', 'container ship', 'schooner', 'pirate'),
    'glass': ('wine glass', 'goblet', 'beer glass'),
    'pan': ('frying pan', 'wok'),
    'lamp': ('table lamp', 'lampshade', 'spotlight', 'torch'),
    'shoe': ('running shoe', 'loafer', 'clog', 'sandal'),
    'boot': ('cowboy boot',),
}


class Nouns:
    """WordNet's noun senses: their names, definitions and what is above them."""

    def __init__(self, folder: Path) -> None:
        self.senses: dict[str, Any] = {}
        for file in sorted(folder.glob('noun.*.yaml')):
            self.senses |= _read(file)
        self.by_name: dict[str, list[str]] = defaultdict(list)
        for sense, entry in self.senses.items():
            for name in entry['members']:
                self.by_name[name.lower()].append(sense)
        self.ranks: dict[tuple[str, str], int] = {}
        for file in sorted(folder.glob('entries-*.yaml')):
            for word, parts in _read(file).items():
                for rank, one in enumerate(parts.get('n', {}).get('sense', ())):
                    self.ranks[word, one['synset']] = rank

    def find(self, names: list[str], definition: str) -> str:
        """Return the sense with these names and nearly this definition."""

        def likeness(sense: str) -> float:
            entry = self.senses[sense]
            shared = {name.lower() for name in entry['members']} & {*names}
            ratio = difflib.SequenceMatcher(None, entry['definition'][0], definition).ratio()
            return len(shared) / len(names) + 2 * ratio

        candidates = {sense for name in names for sense in self.by_name.get(name, ())}
        return max(sorted(candidates), key=likeness)

    def above(self, sense: str) -> Iterator[str]:
        """Yield all senses above one, without itself."""
        for upper in self.senses[sense].get('hypernym', ()):
            yield upper
            yield from self.above(upper)


def main(folder: str, info: str, output: str) -> None:
    """Write the table."""
    nouns, classes = Nouns(Path(folder)), defaultdict(set)
    names = _table(Path(info) / 'imagenet_synset_to_lemma.txt')
    definitions = _table(Path(info) / 'imagenet_synset_to_definition.txt')
    for number, synset in enumerate((Path(info) / 'imagenet_synsets.txt').read_text().split()):
        own = [name.strip().lower() for name in names[synset].split(',')]
        for name in own:
            classes[name].add(number)
        for sense in nouns.above(nouns.find(own, definitions[synset])):
            for name in nouns.senses[sense]['members']:
                if nouns.ranks.get((name, sense), MAX_SENSE) < MAX_SENSE:
                    classes[name.lower()].add(number)
    for name, others in ALSO.items():
        classes[name] = set().union(*(classes.get(other, ()) for other in others))
    kept = {
        name: sorted(numbers)
        for name, numbers in sorted(classes.items())
        if len(numbers) <= MAX_CLASSES and name not in LEFT_OUT
    }
    Path(output).write_text(
        '{\n'
        + ',\n'.join(f'"{n}": {json.dumps(v, separators=(",", ":"))}' for n, v in kept.items())
        + '\n}\n'
    )
    print(f'{len(kept)} nouns')


def _table(file: Path) -> dict[str, str]:
    return dict(line.split('\t') for line in file.read_text().splitlines())


def _read(file: Path) -> dict[str, Any]:
    return yaml.load(file.read_text(), yaml.CSafeLoader)


if __name__ == '__main__':
    main(*sys.argv[1:])
