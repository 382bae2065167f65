"""Small pictures of colored shapes, and a teaching that takes seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from instructseg_ros.teaching.backgrounds import Background
from instructseg_ros.teaching.examples import Example, LabelledObject

SIZE = (160, 120)
SHAPES = {
    'star': ((200, 40, 40), [(0, -30), (9, -9), (30, 0), (9, 9), (0, 30), (-9, 9), (-30, 0)]),
    'stapler': ((40, 60, 200), [(-30, -10), (30, -10), (30, 10), (-30, 10)]),
    'paper clip': ((40, 160, 60), [(-8, -30), (8, -30), (8, 30), (-8, 30)]),
}


def corners(name: str, seed: int) -> list[tuple[float, float]]:
    """Return the (x, y) corners of a shape at a random place, inside of the picture."""
    x, y = np.random.default_rng(seed).integers(45, (115, 75))
    return [(float(x + right), float(y + down)) for right, down in SHAPES[name][1]]


def picture(name: str, seed: int) -> tuple[Image.Image, np.ndarray]:
    """Draw a shape on a gray table; return the picture and the (H, W) bool mask of the shape."""
    image, mask = Image.new('RGB', SIZE, (150, 145, 140)), Image.new('1', SIZE)
    ImageDraw.Draw(image).polygon(corners(name, seed), SHAPES[name][0])
    ImageDraw.Draw(mask).polygon(corners(name, seed), 1)
    return image, np.array(mask)


def shape_example(name: str, seed: int = 0) -> Example:
    """Return an example of a shape alone."""
    image, mask = picture(name, seed)
    return Example(
        image=np.array(image),
        objects=(LabelledObject(name=name, mask=mask),),
        source=f'{name} {seed}',
        alone=True,
    )


def shape_examples(*names: str, count: int = 3) -> list[Example]:
    """Return examples of some shapes."""
    return [shape_example(name, seed) for name in names for seed in range(count)]


def write_labelme(folder: Path, names: Sequence[str], *, count: int = 3) -> Path:
    """Write pictures of shapes with their labels in labelme's format."""
    folder.mkdir()
    for name in names:
        for seed in range(count):
            file = folder / f'{name.replace(" ", "_")}_{seed}.png'
            picture(name, seed)[0].save(file)
            shape = {'label': name, 'points': corners(name, seed), 'shape_type': 'polygon'}
            content: dict[str, Any] = {'shapes': [shape], 'imagePath': file.name, 'imageData': None}
            content |= {'imageWidth': SIZE[0], 'imageHeight': SIZE[1]}
            file.with_suffix('.json').write_text(json.dumps(content))
    return folder


def plain_background(seed: int = 0) -> Background:
    """Return a picture with one other object."""
    image = np.random.default_rng(seed).integers(90, 160, (240, 320, 3), dtype=np.uint8)
    labels = np.zeros((240, 320), np.uint8)
    labels[100:150, 100:160] = 1
    image[labels == 1] = (220, 200, 30)
    return Background(image=image, labels=labels)


@pytest.fixture
def quick_teaching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a teaching take seconds: few pictures, and no rendering."""
    make_quick(monkeypatch)


def make_quick(patch: pytest.MonkeyPatch) -> None:
    """Let a teaching take seconds until the changes are undone."""
    room = 'instructseg_ros.teaching'
    for name in ('_FEWEST_VIEWED', '_VIEW_PASSES', '_VALIDATED'):
        patch.setattr(f'{room}.trainer.{name}', 2)
    patch.setattr(f'{room}.trainer._VALIDATE_EVERY', 1)
    patch.setattr(f'{room}.teach.rendered_backgrounds', lambda count: [plain_background()])
    patch.setattr(f'{room}.teach.photographed_backgrounds', list)
