"""An image with labelled regions, as annotation files describe it, and its conversion."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from PIL import Image

from instructseg_ros.model.noun_query import NounReader
from instructseg_ros.research.data.reading import Reading
from instructseg_ros.research.data.sample import ImageSource
from instructseg_ros.research.data.targets import CocoPolygons, Ring, Size
from instructseg_ros.teaching.examples import MAX_SIDE, Example, LabelledObject

_SEPARATORS: Final = re.compile(r'[\s_-]+')
_MIN_NUMBERS: Final = 6  # numbers of a polygon: three corners


@dataclasses.dataclass(frozen=True, kw_only=True)
class Region:
    """A labelled region of an image.

    Args:
        nouns: Names that the object has in the file, the best one first; empty: it has none.
        draw: (height, width) of the image -> (H, W) bool mask.
        where: File and entry, for messages.
        may_be_empty: Whether the object may be absent; otherwise an empty mask is a mistake.
    """

    nouns: tuple[str, ...]
    draw: Callable[[Size], np.ndarray]
    where: str
    may_be_empty: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnnotatedImage:
    """An image and its labelled regions.

    Args:
        image: The image, decoded on demand.
        source: Its name for `Example.source`.
        size: (height, width) in the annotation file; None if it is not written there.
        video: Whether it is a frame of a video.
        regions: Its regions; the readers append to them.
    """

    image: ImageSource
    source: str
    size: Size | None = None
    video: bool = False
    regions: list[Region] = dataclasses.field(default_factory=list)


def normalize_name(name: str) -> str:
    """Return a category name as a noun in lower case: "Coffee-Mug" becomes "coffee mug"."""
    return _SEPARATORS.sub(' ', name.lower()).strip()


class NameFilter:
    """Keeps objects of the wanted names, in singular or plural; without names, all objects.

    Args:
        names: The wanted names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._wanted = tuple(map(normalize_name, names))

    def choose(self, nouns: Sequence[str]) -> str | None:
        """Return the wanted name among the nouns of a region, in singular; None if there is none.

        The singular is known if either the file or the wanted names contain it.
        """
        for noun in map(normalize_name, nouns):
            if not self._wanted or noun in self._wanted:
                return noun
            for wanted in self._wanted:
                if _is_plural(noun, wanted):
                    return wanted
                if _is_plural(wanted, noun):
                    return noun
        return None


def _is_plural(noun: str, singular: str) -> bool:
    return NounReader({singular: ()}).is_noun(noun)


def to_example(annotated: AnnotatedImage, names: NameFilter, reading: Reading) -> Example:
    """Decode an image and draw the masks of its wanted objects.

    Identical masks of a name count once. Images larger than `MAX_SIDE` are scaled down.

    Args:
        annotated: The image.
        names: Chooses the objects.
        reading: Receives the problems of single regions.

    Raises:
        ValueError: The image is damaged or missing, or its size is not that of the annotations.
    """
    image = np.asarray(_load(annotated.image))
    height, width = image.shape[:2]
    _check_size(annotated.size or (height, width), (height, width))
    objects: dict[tuple[str, bytes], LabelledObject] = {}
    for region in annotated.regions:
        name = names.choose(region.nouns)
        with reading.noting(region.where):
            if name is not None and (mask := _draw(region, (height, width))).any():
                key = name, np.packbits(mask).tobytes()
                objects.setdefault(key, LabelledObject(name=name, mask=mask))
    example = Example(image=image, objects=tuple(objects.values()), source=annotated.source)
    example = example.scaled(MAX_SIDE)
    visible = tuple(one for one in example.objects if one.mask.any())
    return dataclasses.replace(example, objects=visible)


def _load(image: ImageSource) -> Image.Image:
    try:
        return image.load()
    except FileNotFoundError:
        raise ValueError(f'{image} is missing: put it there, or remove its entry') from None


def _draw(region: Region, size: Size) -> np.ndarray:
    mask = region.draw(size)
    _check_size((mask.shape[0], mask.shape[1]), size)
    if not (region.may_be_empty or mask.any()):
        raise ValueError('it has no pixel: draw it again, or remove it')
    return mask


def _check_size(annotated: Size, actual: Size) -> None:
    """Check that annotations fit the upright image.

    Raises:
        ValueError: The sizes differ; the message says how to fix it.
    """
    if annotated == actual:
        return
    remedy = 'use the image that was labelled, without scaling or cropping it'
    if annotated == actual[::-1]:
        remedy = (
            'the camera wrote an EXIF orientation, which the labelling program ignored: '
            'save the image upright without it and label that one'
        )
    raise ValueError(
        f'the labels are for {annotated[1]} x {annotated[0]} pixels, but the image has '
        f'{actual[1]} x {actual[0]} (width x height): {remedy}'
    )


def draw_outlines(outlines: Sequence[Ring], size: Size) -> np.ndarray:
    """Draw the union of polygons.

    Args:
        outlines: x, y, x, y, ... of each polygon in pixels.
        size: (height, width) of the image.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: A polygon has fewer than three corners, or lies mostly outside the image.
    """
    for outline in outlines:
        if len(outline) < _MIN_NUMBERS:
            raise ValueError(
                f'a polygon has {len(outline) // 2} corners and needs three: '
                f'draw it again, or remove it'
            )
        _check_inside(outline, size)
    return CocoPolygons(size, tuple(outlines)).mask()


def _check_inside(outline: Ring, size: Size) -> None:
    """Check the center of a polygon: one that is far outside belongs to another image size."""
    for values, side in ((outline[::2], size[1]), (outline[1::2], size[0])):
        if not 0 <= (min(values) + max(values)) / 2 <= side:
            raise ValueError(
                f'a polygon lies outside the image of {size[1]} x {size[0]} pixels: '
                f'use the image that was labelled, without scaling or cropping it'
            )
