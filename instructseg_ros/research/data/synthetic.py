"""Small images and videos of colored shapes with exact masks, for synthetic data sets."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

COLORS: Final = {
    'red': (214, 48, 40),
    'green': (52, 168, 76),
    'blue': (44, 92, 210),
    'yellow': (236, 204, 48),
    'purple': (142, 68, 186),
    'white': (240, 240, 240),
}
FORMS: Final = {'triangle': 3, 'square': 4, 'circle': 24}  # number of corners


@dataclasses.dataclass(frozen=True)
class Shape:
    """A shape in an image.

    Args:
        form: Triangle, square or circle; form and color together are unique in an image.
        color: Name of the color.
        polygon: x, y, x, y, ... of the outline in pixels, including occluded parts.
        mask: (H, W) bool, the visible pixels.
    """

    form: str
    color: str
    polygon: tuple[float, ...]
    mask: np.ndarray = dataclasses.field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """Return a name such as `red circle`."""
        return f'{self.color} {self.form}'

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Return x, y, width and height of the outline in pixels."""
        xs, ys = self.polygon[::2], self.polygon[1::2]
        return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def scene(
    rng: np.random.Generator, size: tuple[int, int] = (96, 128), shapes: int = 3
) -> tuple[np.ndarray, list[Shape]]:
    """Draw an image of different shapes.

    Returns:
        (H, W, 3) uint8 RGB, and the shapes from back to front.
    """
    frames, seen = clip(rng, size, shapes, 1)
    return frames[0], seen[0]


def clip(
    rng: np.random.Generator, size: tuple[int, int] = (96, 128), shapes: int = 2, frames: int = 6
) -> tuple[list[np.ndarray], list[list[Shape]]]:
    """Draw a video of moving shapes, each in its own row.

    Returns:
        (H, W, 3) uint8 RGB frames, and the shapes in each frame, always in the same order.
    """
    height, width = size
    names = [(form, color) for form in FORMS for color in COLORS]
    chosen = [names[index] for index in rng.permutation(len(names))[:shapes]]
    radius = rng.uniform(0.3, 0.45, shapes) * height / shapes
    y = (np.arange(shapes) + 0.5) * height / shapes
    x = rng.uniform(0.25, 0.75, shapes) * width
    speed = rng.uniform(-0.03, 0.03, shapes) * width
    noise = rng.integers(70, 110, (height, width, 3)).astype(np.uint8)
    images, seen = [], []
    for frame in range(frames):
        centers = np.stack([x + frame * speed, y], axis=1)
        outlines = [
            _outline(FORMS[form], center, float(r))
            for (form, _), center, r in zip(chosen, centers, radius, strict=True)
        ]
        image, masks = _draw(noise, outlines, [COLORS[color] for _, color in chosen])
        images.append(image)
        seen.append(
            [
                Shape(form, color, outline, mask)
                for (form, color), outline, mask in zip(chosen, outlines, masks, strict=True)
            ]
        )
    return images, seen


def save_jpeg(path: Path, rgb: np.ndarray) -> None:
    """Write an image, and create its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path, quality=95)


def _outline(corners: int, center: np.ndarray, radius: float) -> tuple[float, ...]:
    angles = (np.arange(corners) + 0.5) * 2 * math.pi / corners + math.pi / 2
    points = center + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return tuple(float(value) for value in points.round(2).flatten())


def _draw(
    ground: np.ndarray, outlines: list[tuple[float, ...]], colors: list[tuple[int, int, int]]
) -> tuple[np.ndarray, list[np.ndarray]]:
    image = Image.fromarray(ground)
    labels = Image.new('L', image.size)
    for label, (outline, color) in enumerate(zip(outlines, colors, strict=True), start=1):
        ImageDraw.Draw(image).polygon(outline, fill=color)
        ImageDraw.Draw(labels).polygon(outline, fill=label)
    values = np.array(labels)
    return np.array(image), [values == label for label in range(1, len(outlines) + 1)]
