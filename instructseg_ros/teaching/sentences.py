"""Writes instructions about a labelled picture by grammar, to fine-tune a model with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from instructseg_ros.model.noun_finder import named_colors
from instructseg_ros.model.noun_query import COLORS
from instructseg_ros.tabletop.instructions.noun_phrase import pluralized
from instructseg_ros.teaching.examples import Example

_HAS_COLOR: Final = 0.25  # share of an object's pixels from which it has a color
_LACKS_COLOR: Final = 0.05  # share up to which it certainly does not
_LARGER: Final = 1.4  # ratio of areas from which one object is clearly larger
_APART: Final = 0.04  # of the picture's width, from which one object is clearly farther left

Sentences: TypeAlias = dict[str, np.ndarray | None]


def sentences(
    example: Example, name: str, *, others: Sequence[str] = (), rng: np.random.Generator
) -> Sentences:
    """Write instructions for one noun on one picture.

    Args:
        example: The picture, in which all objects of `name` and `others` are labelled.
        name: The noun, in lower case and singular.
        others: Other nouns; instructions for those that are not in the picture have no target.
        rng: Draws one of the colors that no object of the noun has.

    Returns:
        For each instruction, the (H, W) bool mask of its target, or None if the target is absent.
    """
    masks = [one.mask for one in example.objects if one.name == name and one.mask.any()]
    plural = f'all the {pluralized(name)}'
    if not masks:
        return {f'the {name}': None, plural: None}
    written: Sentences = {plural: np.any(masks, axis=0)}
    if len(masks) == 1:
        written[f'the {name}'] = masks[0]
    else:
        written |= {f'the {word} {name}': mask for word, mask in _distinguished(masks).items()}
    written |= _colored(example.image, masks, name, rng)
    there = {one.name for one in example.objects}
    return written | {f'the {other}': None for other in others if other not in there | {name}}


def _distinguished(masks: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the objects that are clearly the leftmost, rightmost, largest or smallest."""
    width = masks[0].shape[1]
    columns = [float(np.nonzero(mask)[1].mean()) / width for mask in masks]
    areas = [float(np.log(mask.sum())) for mask in masks]
    firsts = {
        'leftmost': _clearly_first(columns, _APART),
        'rightmost': _clearly_first([-column for column in columns], _APART),
        'largest': _clearly_first([-area for area in areas], float(np.log(_LARGER))),
        'smallest': _clearly_first(areas, float(np.log(_LARGER))),
    }
    return {word: masks[index] for word, index in firsts.items() if index is not None}


def _clearly_first(values: Sequence[float], margin: float) -> int | None:
    """Return the index of the lowest of two or more values, if it is lower by a margin."""
    first, second = np.argsort(values, kind='stable')[:2]
    return int(first) if values[second] - values[first] >= margin else None


def _colored(
    image: np.ndarray, masks: Sequence[np.ndarray], name: str, rng: np.random.Generator
) -> Sentences:
    """Name the objects that alone have their color, and one color that no object has."""
    shares = np.stack([_color_shares(image[mask]) for mask in masks])
    written: Sentences = {}
    for index, color in enumerate(COLORS):
        having = np.flatnonzero(shares[:, index] >= _HAS_COLOR)
        if len(having) == 1:
            written[f'the {color} {name}'] = masks[int(having[0])]
    lacking = np.flatnonzero(shares.max(axis=0) <= _LACKS_COLOR)
    if len(lacking):
        written[f'the {COLORS[int(rng.choice(lacking))]} {name}'] = None
    return written


def _color_shares(pixels: np.ndarray) -> np.ndarray:
    """Return the share of (n, 3) uint8 RGB pixels that has each color of `COLORS`."""
    colors = named_colors(pixels[None])
    return np.bincount(colors.ravel(), minlength=len(COLORS)) / len(pixels)


def grouped(written: Mapping[str, np.ndarray | None]) -> list[tuple[np.ndarray | None, list[str]]]:
    """Group the instructions of a picture by their masks: pairs of a mask and its instructions."""
    groups: dict[bytes, tuple[np.ndarray | None, list[str]]] = {}
    for text, mask in written.items():
        key = b'' if mask is None else np.packbits(mask).tobytes()
        groups.setdefault(key, (mask, []))[1].append(text)
    return list(groups.values())
