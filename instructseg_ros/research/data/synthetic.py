"""Small pictures of coloured shapes with exact masks: what `make-sample` fills data sets with."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

COLOURS: Final = {
    'red': (214, 48, 40),
    'green': (52, 168, 76),
    'blue': (44, 92, 210),
    'yellow': (236, 204, 48),
    'purple': (142, 68, 186),
    'white': (240, 240, 240),
}
KINDS: Final = {'triangle': 3, 'square': 4, 'circle': 24}  # corners


@dataclasses.dataclass(frozen=True)
class Thing:
    """A shape as it is seen.

    Args:
        kind, colour: unique together in a picture.
        polygon: x, y, x, y, ... of its outline, covered parts included.
        mask: (H, W) bool, what nothing covers.
    """

    kind: str
    colour: str
    polygon: tuple[float, ...]
    mask: np.ndarray = dataclasses.field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """Such as `red circle`."""
        return f'{self.colour} {self.kind}'

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x, y, width, height."""
        xs, ys = self.polygon[::2], self.polygon[1::2]
        return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def scene(
    rng: np.random.Generator, size: tuple[int, int] = (96, 128), things: int = 3
) -> tuple[np.ndarray, list[Thing]]:
    """A picture of some different things.

    Returns:
        (H, W, 3) uint8 RGB, and the things from back to front.
    """
    frames, seen = clip(rng, size, things, 1)
    return frames[0], seen[0]


def clip(
    rng: np.random.Generator, size: tuple[int, int] = (96, 128), things: int = 2, frames: int = 6
) -> tuple[list[np.ndarray], list[list[Thing]]]:
    """A video of things that move, each in its own row of the picture.

    Returns:
        for each frame (H, W, 3) uint8 RGB, and the things in the same order.
    """
    height, width = size
    names = [(kind, colour) for kind in KINDS for colour in COLOURS]
    chosen = [names[index] for index in rng.permutation(len(names))[:things]]
    radius = rng.uniform(0.3, 0.45, things) * height / things
    y = (np.arange(things) + 0.5) * height / things
    x = rng.uniform(0.25, 0.75, things) * width
    speed = rng.uniform(-0.03, 0.03, things) * width
    noise = rng.integers(70, 110, (height, width, 3)).astype(np.uint8)
    pictures, seen = [], []
    for frame in range(frames):
        centres = np.stack([x + frame * speed, y], axis=1)
        outlines = [
            _outline(KINDS[kind], centre, float(r))
            for (kind, _), centre, r in zip(chosen, centres, radius, strict=True)
        ]
        picture, masks = _draw(noise, outlines, [COLOURS[colour] for _, colour in chosen])
        pictures.append(picture)
        seen.append(
            [
                Thing(kind, colour, outline, mask)
                for (kind, colour), outline, mask in zip(chosen, outlines, masks, strict=True)
            ]
        )
    return pictures, seen


def save_jpeg(path: Path, rgb: np.ndarray) -> None:
    """Write a picture, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path, quality=95)


def _outline(corners: int, centre: np.ndarray, radius: float) -> tuple[float, ...]:
    angles = (np.arange(corners) + 0.5) * 2 * math.pi / corners + math.pi / 2
    points = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return tuple(float(value) for value in points.round(2).flatten())


def _draw(
    ground: np.ndarray, outlines: list[tuple[float, ...]], colours: list[tuple[int, int, int]]
) -> tuple[np.ndarray, list[np.ndarray]]:
    picture = Image.fromarray(ground)
    labels = Image.new('L', picture.size)
    for label, (outline, colour) in enumerate(zip(outlines, colours, strict=True), start=1):
        ImageDraw.Draw(picture).polygon(outline, fill=colour)
        ImageDraw.Draw(labels).polygon(outline, fill=label)
    values = np.array(labels)
    return np.array(picture), [values == label for label in range(1, len(outlines) + 1)]
