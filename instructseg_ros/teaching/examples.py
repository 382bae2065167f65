"""Examples of objects that a model is taught: pictures with the mask of each object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from instructseg_ros.streaming.image_files import read_labels, read_rgb

FOLDER: Final = 'examples'  # in a model folder
_INDEX: Final = 'index.json'
MAX_SIDE: Final = 960  # of a picture, pixels; larger ones are scaled down
MAX_OBJECTS: Final = 255  # in a picture


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledObject:
    """One object in a picture.

    Attributes:
        name: Its noun, in lower case and singular, such as "stapler".
        mask: (H, W) bool, its visible pixels.
    """

    name: str
    mask: np.ndarray = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """A picture in which all objects of the taught names are labelled.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        objects: Its labelled objects; the first may be hidden partly by later ones.
        source: The file, or the topic and time, that it came from; for messages.
        alone: Whether the object was shown alone: everything else is only background.
    """

    image: np.ndarray = field(repr=False)
    objects: tuple[LabelledObject, ...]
    source: str
    alone: bool = False

    def scaled(self, longest: int) -> Example:
        """Return the example at most `longest` pixels wide and high."""
        height, width = self.image.shape[:2]
        if max(height, width) <= longest:
            return self
        factor = longest / max(height, width)
        size = (round(width * factor), round(height * factor))
        image = Image.fromarray(self.image).resize(size, Image.Resampling.LANCZOS)
        objects = tuple(
            LabelledObject(
                name=one.name,
                mask=np.asarray(
                    Image.fromarray(one.mask).resize(size, Image.Resampling.NEAREST), bool
                ),
            )
            for one in self.objects
        )
        return Example(
            image=np.asarray(image), objects=objects, source=self.source, alone=self.alone
        )

    def union(self, name: str) -> np.ndarray:
        """Return the (H, W) bool mask of all objects with a name."""
        masks = [one.mask for one in self.objects if one.name == name]
        return np.any(masks, axis=0) if masks else np.zeros(self.image.shape[:2], bool)


def names_of(examples: Iterable[Example]) -> list[str]:
    """Return the names of all objects, sorted."""
    return sorted({one.name for each in examples for one in each.objects})


def save_examples(examples: Sequence[Example], folder: Path) -> None:
    """Write examples into a new folder: pictures as PNG, label images, and an index.

    Raises:
        FileExistsError: The folder exists.
    """
    folder.mkdir(parents=True)
    entries = []
    for number, example in enumerate(examples):
        small = example.scaled(MAX_SIDE)
        labels = np.zeros(small.image.shape[:2], np.uint8)
        for value, one in enumerate(small.objects[:MAX_OBJECTS], 1):
            labels[one.mask] = value
        file = f'{number:04}.png'
        Image.fromarray(small.image).save(folder / file)
        Image.fromarray(labels).save(folder / f'{number:04}_labels.png')
        entries.append(
            {
                'image': file,
                'names': [one.name for one in small.objects[:MAX_OBJECTS]],
                'source': small.source,
                'alone': small.alone,
            }
        )
    (folder / _INDEX).write_text(json.dumps(entries, indent=1) + '\n')


def load_examples(folder: Path) -> list[Example]:
    """Read the examples that `save_examples` wrote; none if there is no such folder."""
    if not (folder / _INDEX).is_file():
        return []
    return [_load(folder, entry) for entry in json.loads((folder / _INDEX).read_text())]


def _load(folder: Path, entry: dict[str, object]) -> Example:
    file = folder / str(entry['image'])
    labels = np.asarray(read_labels(file.with_name(f'{file.stem}_labels.png')))
    names = entry['names']
    assert isinstance(names, list)
    return Example(
        image=np.asarray(read_rgb(file)),
        objects=tuple(
            LabelledObject(name=str(name), mask=labels == value)
            for value, name in enumerate(names, 1)
            if (labels == value).any()
        ),
        source=str(entry['source']),
        alone=bool(entry['alone']),
    )
