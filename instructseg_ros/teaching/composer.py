"""Composes training pictures: cut-outs of taught objects and others on many backgrounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from instructseg_ros.teaching.backgrounds import CANVAS, Background
from instructseg_ros.teaching.examples import Example

MIN_PIXELS: Final = 150  # of an object that counts
_SIZES: Final = (28.0, 230.0)  # of a pasted object that was shown alone, pixels
_SCALES: Final = (0.6, 1.5)  # of a pasted object that was labelled in a picture
_OBJECTS: Final = 8  # most objects that are pasted on a picture
_SHEAR: Final = 0.45  # largest sideways shift of a row, in rows
_ON_ANOTHER: Final = 0.4  # share of the pasted objects that lie on another one
_RECOLORED: Final = 0.7  # share of the pasted objects with another color

Random: TypeAlias = np.random.Generator


@dataclass(frozen=True, kw_only=True, eq=False)
class Composite:
    """A composed picture and what it shows.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        names: (H, W) uint8, 0 or 1 + index of the taught noun.
        objects: (H, W) uint8, one value for each object, taught or not, that is half visible.
    """

    image: np.ndarray = field(repr=False)
    names: np.ndarray = field(repr=False)
    objects: np.ndarray = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class CutOut:
    """An object cut out of a picture.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        mask: (h, w) bool.
        name: 0 or 1 + index of the taught noun.
        alone: Whether it was shown alone, so that its size in pictures is unknown.
    """

    image: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    name: int = 0
    alone: bool = True


class Composer:
    """Draws random pictures of taught objects among others.

    Args:
        examples: Examples of the taught objects.
        names: All taught nouns, in the order of their numbers.
        backgrounds: Pictures without taught objects.
        rng: The only random source.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        names: Sequence[str],
        backgrounds: Sequence[Background],
        rng: Random,
    ) -> None:
        self._rng = rng
        self._backgrounds = list(backgrounds)
        examples = [each.scaled(CANVAS) for each in examples]
        self._bases = [_labelled(example, names) for example in examples]
        self._labelled_share = 0.15 if all(each.alone for each in examples) else 0.6
        cut = [_cut_outs(each, names) for each in examples]
        self._taught = [
            [one for some in cut for one in some if one.name == number]
            for number in range(1, len(names) + 1)
        ]
        self._taught = [each for each in self._taught if each]
        self._others = [one for each in backgrounds for one in _other_cut_outs(each)]

    def draw(self) -> Composite:
        """Draw a picture, 640 pixels wide or high."""
        step = -1 if self._rng.random() < 0.5 else 1
        image, names, objects = (each[:, ::step].copy() for each in self._base())
        pixels = image.astype(np.float32)
        values, counts = np.unique(objects, return_counts=True)
        areas = dict(zip(values.tolist(), counts.tolist(), strict=True))
        for _ in range(int(self._rng.integers(_OBJECTS + 1))):
            self._paste(pixels, names, objects, areas)
        return Composite(
            image=_relit(pixels, self._rng), names=names, objects=_visible(objects, areas)
        )

    def _base(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = self._rng
        if not self._backgrounds or rng.random() < self._labelled_share:
            return self._bases[int(rng.integers(len(self._bases)))]
        chosen = self._backgrounds[int(rng.integers(len(self._backgrounds)))]
        return chosen.image, np.zeros_like(chosen.labels), chosen.labels

    def _paste(
        self, pixels: np.ndarray, names: np.ndarray, objects: np.ndarray, areas: dict[int, int]
    ) -> None:
        """Paste a random object with a shadow at a random place, also partly outside."""
        rng = self._rng
        pool = self._others
        if self._taught and (not pool or rng.random() < 0.5):
            pool = self._taught[int(rng.integers(len(self._taught)))]
        if not pool:
            return
        chosen = pool[int(rng.integers(len(pool)))]
        colors, alpha = self._varied(chosen)
        top, left = self._place(objects, (alpha.shape[0], alpha.shape[1]))
        if rng.random() < 0.6:
            shadow = ndimage.gaussian_filter(alpha, rng.uniform(1, 5))
            down, right = (int(each) for each in rng.integers(-6, 7, 2))
            here, there = _overlap(names.shape, shadow.shape, top + down, left + right)
            pixels[here] *= 1 - rng.uniform(0.2, 0.6) * shadow[there][..., None]
        here, there = _overlap(names.shape, alpha.shape, top, left)
        share = alpha[there][..., None]
        pixels[here] = (1 - share) * pixels[here] + share * colors[there]
        covered = alpha[there] > 0.5
        number = min(max(areas) + 1, 255)
        names[here][covered] = chosen.name
        objects[here][covered] = number
        areas[number] = int((alpha > 0.5).sum())

    def _place(self, objects: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
        """Draw the top left corner of an object: often on another one, else anywhere."""
        rng, (height, width), (high, wide) = self._rng, objects.shape, size
        if rng.random() < _ON_ANOTHER and len(pixels := np.flatnonzero(objects)):
            row, column = divmod(int(rng.choice(pixels)), width)
            return row - high // 2, column - wide // 2
        top = rng.integers(-high // 4, max(height - 3 * high // 4, 1 - high // 4))
        left = rng.integers(-wide // 4, max(width - 3 * wide // 4, 1 - wide // 4))
        return int(top), int(left)

    def _varied(self, chosen: CutOut) -> tuple[np.ndarray, np.ndarray]:
        """Return (h, w, 3) colors and (h, w) opacity of a turned, scaled, recolored object."""
        rng, image = self._rng, Image.fromarray(chosen.image)
        if chosen.alone and rng.random() < _RECOLORED:
            image = _recolored(image, rng)
        scale = float(rng.uniform(*_SCALES))
        if chosen.alone:
            scale = float(np.exp(rng.uniform(*np.log(_SIZES)))) / max(chosen.mask.shape)
        size = (
            max(4, round(image.width * scale)),
            max(4, round(image.height * scale * rng.uniform(0.75, 1.3))),
        )
        shear = rng.uniform(-_SHEAR, _SHEAR) if rng.random() < 0.6 else 0.0
        angle = rng.normal(0, 25) if rng.random() < 0.7 else rng.uniform(0, 360)
        alpha = Image.fromarray(chosen.mask.astype(np.uint8) * 255)
        both = [
            _sheared(each.resize(size, Image.Resampling.BILINEAR), shear).rotate(
                angle, Image.Resampling.BILINEAR, expand=True
            )
            for each in (image, alpha)
        ]
        if rng.random() < 0.5:
            both = [ImageOps.mirror(each) for each in both]
        return np.asarray(both[0], np.float32), np.asarray(both[1], np.float32) / 255


def _visible(objects: np.ndarray, areas: Mapping[int, int]) -> np.ndarray:
    """Drop objects of which less than half is visible; nobody could name them."""
    counts = np.bincount(objects.ravel(), minlength=256)
    hidden = [value for value, area in areas.items() if value and counts[value] < 0.5 * area]
    return np.where(np.isin(objects, hidden), 0, objects).astype(np.uint8)


def _sheared(image: Image.Image, shear: float) -> Image.Image:
    """Shift the rows of an image sideways, as another view of a flat object would."""
    wider = int(abs(shear) * image.height) + 1
    matrix = (1, shear, -wider if shear > 0 else 0, 0, 1, 0)
    size = (image.width + wider, image.height)
    return image.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _overlap(
    size: tuple[int, ...], part: tuple[int, ...], top: int, left: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a part lies in a picture, and what of the part that is."""
    rows = slice(max(top, 0), max(min(top + part[0], size[0]), 0))
    columns = slice(max(left, 0), max(min(left + part[1], size[1]), 0))
    inner = (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )
    return (rows, columns), inner


def _labelled(example: Example, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the picture of an example, the names of its pixels, and its objects."""
    named = np.zeros(example.image.shape[:2], np.uint8)
    objects = np.zeros_like(named)
    for number, one in enumerate(example.objects, 1):
        if one.name in names:
            named[one.mask] = 1 + names.index(one.name)
            objects[one.mask] = number
    return example.image, named, objects


def _cut_outs(example: Example, names: Sequence[str]) -> list[CutOut]:
    """Cut out the whole objects of an example."""
    return [
        _cut_out(example.image, one.mask, 1 + names.index(one.name), alone=example.alone)
        for one in example.objects
        if one.name in names and is_whole(one.mask)
    ]


def is_whole(mask: np.ndarray) -> bool:
    """Return whether an object is large enough and not cut off by the edge of its picture."""
    is_cut_off = mask[[0, -1]].any() or mask[:, [0, -1]].any()
    return bool(mask.sum() >= MIN_PIXELS and not is_cut_off)


def _other_cut_outs(background: Background) -> list[CutOut]:
    values, counts = np.unique(background.labels, return_counts=True)
    return [
        _cut_out(background.image, background.labels == value)
        for value, count in zip(values, counts, strict=True)
        if value and count >= MIN_PIXELS
    ]


def _cut_out(image: np.ndarray, mask: np.ndarray, name: int = 0, *, alone: bool = True) -> CutOut:
    (window,) = ndimage.find_objects(mask.astype(np.uint8))
    return CutOut(image=image[window], mask=mask[window], name=name, alone=alone)


def _recolored(image: Image.Image, rng: Random) -> Image.Image:
    """Change the hue of an object, often its saturation and brightness as well."""
    hsv = np.asarray(image.convert('HSV')).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(0, 256)) % 256
    if rng.random() < 0.25:
        hsv[..., 1] *= rng.uniform(0, 0.3)
    hsv[..., 2] *= rng.uniform(0.4, 1.2)
    if rng.random() < 0.15:  # nearly black or white
        hsv[..., 2] = 0.2 * hsv[..., 2] + rng.choice([0, 170])
    return Image.fromarray(hsv.clip(0, 255).astype(np.uint8), 'HSV').convert('RGB')


def _relit(pixels: np.ndarray, rng: Random) -> np.ndarray:
    """Change brightness, color of the light and noise of a picture; return it as uint8."""
    light = rng.uniform(0.7, 1.3) * rng.uniform(0.92, 1.08, 3)
    noise = rng.normal(0, rng.uniform(0, 8), pixels.shape).astype(np.float32)
    changed: np.ndarray = (pixels * light + noise).clip(0, 255).astype(np.uint8)
    return changed
