"""Random changes of the training scenes: viewpoint, moving camera, background, cover and image.

The benchmark `tabletop/shifts.py` measures what they are for, with changes of its own strength.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from instructseg_ros.spatial.quaternions import from_axis_angle, to_matrix
from instructseg_ros.tabletop.shifts import (
    PixelChange,
    Random,
    SceneChange,
    Shift,
    elevated,
    farther,
    smooth_noise,
    uint8,
)
from instructseg_ros.tabletop.world.scene import Scene, TableCamera

# Shares of the scenes with each change.
_VIEW, _MOVING, _BACKGROUND, _COVER, _IMAGE = 0.45, 0.4, 0.25, 0.15, 0.4
_MAX_SPEED = 0.15  # of the camera, m/s
_MAX_TURN = 0.12  # of the camera, rad/s


def random_shift(rng: Random, photographs: Sequence[np.ndarray] = ()) -> Shift:
    """Draw the changes of one scene; many scenes have several changes, some have none.

    Args:
        photographs: (H, W, 3) uint8 RGB images that some tables show; without them, all painted
            tables have random patterns.
    """
    changes: list[SceneChange] = []
    if rng.random() < _VIEW:
        changes.append(_random_view(rng))
    if rng.random() < _MOVING:
        changes.append(_random_drift(rng))

    def change(scene: Scene, _: Random, time: float) -> Scene:
        for one in changes:
            scene = one(scene, _, time)
        return scene

    shift = Shift(scene=change, cover=rng.random() < _COVER)
    if rng.random() < _BACKGROUND:
        shift = dataclasses.replace(shift, background=_random_background(rng, photographs))
    if rng.random() < _IMAGE:
        shift = dataclasses.replace(shift, pixels=_random_image(rng))
    return shift


def _random_view(rng: Random) -> SceneChange:
    """Draw another elevation, distance or field of view."""
    elevation = rng.uniform(15, 85) if rng.random() < 0.5 else None
    distance = float(np.exp(rng.uniform(np.log(0.95), np.log(2.6))))
    fovy = rng.uniform(28, 85) if rng.random() < 0.4 else None

    def change(scene: Scene, _: Random, time: float) -> Scene:
        camera = scene.camera
        if elevation is not None:
            camera = elevated(camera, elevation)
        factor = distance
        if fovy is not None:  # keep the size of the objects in the image
            factor *= float(np.tan(np.deg2rad(camera.fovy) / 2) / np.tan(np.deg2rad(fovy) / 2))
            camera = dataclasses.replace(camera, fovy=fovy)
        return dataclasses.replace(scene, camera=farther(camera, factor))

    return change


def _random_drift(rng: Random) -> SceneChange:
    """Draw a constant velocity and rate of rotation of the camera."""
    velocity = rng.uniform(-_MAX_SPEED, _MAX_SPEED, 3) * (1, 1, 0.6)
    rates = rng.uniform(-_MAX_TURN, _MAX_TURN, 3) * (rng.random() < 0.5)
    angle = float(np.linalg.norm(rates))
    axis = rates / angle if angle else np.array([0.0, 0.0, 1.0])

    def change(scene: Scene, _: Random, time: float) -> Scene:
        camera = scene.camera
        position = camera.position + camera.rotation @ (time * velocity)
        position[2] = max(position[2], 0.05)
        turned = camera.rotation @ to_matrix(from_axis_angle(axis, time * angle))
        moved = TableCamera(position=position, rotation=turned, fovy=camera.fovy)
        return dataclasses.replace(scene, camera=moved)

    return change


def _random_background(
    rng: Random, photographs: Sequence[np.ndarray]
) -> Callable[[int, int, Random], np.ndarray]:
    """Draw a painter of the table: a photograph or a random pattern."""
    if len(photographs) and rng.random() < 0.6:
        photograph = photographs[int(rng.integers(len(photographs)))]
        return lambda height, width, source: _part(photograph, height, width, source)
    return _pattern


def _part(photograph: np.ndarray, height: int, width: int, rng: Random) -> np.ndarray:
    """Cut a random part out of a photograph, mirrored at random, with random brightness."""
    rows, columns, _ = photograph.shape
    share = rng.uniform(0.4, 1.0)
    wide = int(min(columns, rows * width / height) * share)
    high = int(wide * height / width)
    left, top = rng.integers(columns - wide + 1), rng.integers(rows - high + 1)
    part = Image.fromarray(photograph[top : top + high, left : left + wide])
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = np.asarray(part.resize((width, height), Image.Resampling.BILINEAR), np.float32)
    return uint8(image * rng.uniform(0.6, 1.2, 3 if rng.random() < 0.3 else 1))


def _pattern(height: int, width: int, rng: Random) -> np.ndarray:
    """Draw noise at two random scales around two colors, often under random shapes."""
    coarse, fine = (smooth_noise(height, width, rng.integers(*n), rng) for n in ((3, 12), (12, 80)))
    noise = 0.6 * coarse + 0.4 * fine
    image = 128 + (noise - 128) * rng.uniform(0.2, 1.5)
    if rng.random() < 0.6:  # nearly one color, as most tables are
        gray = image.mean(-1, keepdims=True)
        image = gray + (image - gray) * rng.uniform(0, 0.5) + rng.uniform(-60, 60, 3)
    if rng.random() < 0.4:
        stripes = np.sin(np.arange(height)[:, None] * rng.uniform(0.05, 0.8) + noise[..., 0] / 40)
        image = image * (0.85 + 0.2 * stripes[..., None])
    picture = Image.fromarray(uint8(image))
    if rng.random() < 0.5:
        _draw_shapes(ImageDraw.Draw(picture), width, height, rng)
    return np.array(picture)


def _draw_shapes(draw: ImageDraw.ImageDraw, width: int, height: int, rng: Random) -> None:
    for _ in range(int(rng.integers(5, 50))):
        x, y = rng.uniform(0, (width, height))
        a, b = rng.uniform(0.01, 0.1, 2) * width
        color = tuple(int(value) for value in rng.integers(0, 256, 3))
        shape = rng.integers(3)
        if shape == 0:
            draw.ellipse((x - a, y - b, x + a, y + b), fill=color)
        elif shape == 1:
            draw.line((x, y, x + 3 * a - b, y + b), fill=color, width=int(rng.integers(1, 8)))
        else:
            corners = rng.uniform(-1, 1, (4, 2)) * (a, b) + (x, y)
            draw.polygon([(float(u), float(v)) for u, v in corners], fill=color)


def _random_image(rng: Random) -> PixelChange:
    """Draw one or two changes of light, noise, sharpness and compression."""
    chosen = rng.choice(len(_IMAGE_CHANGES), int(rng.integers(1, 3)), replace=False)
    seed = int(rng.integers(2**31))

    def change(rgb: np.ndarray, frame: Random) -> np.ndarray:
        # All frames of a scene share the strength; only their noise differs.
        strength = np.random.default_rng(seed)
        for index in chosen:
            rgb = _IMAGE_CHANGES[index](rgb, strength, frame)
        return rgb

    return change


def _relit(rgb: np.ndarray, rng: Random, frame: Random) -> np.ndarray:
    gain = np.exp(rng.uniform(np.log(0.2), np.log(1.5)))
    return uint8(rgb * (gain * rng.uniform(0.75, 1.2, 3)))


def _hazy(rgb: np.ndarray, rng: Random, frame: Random) -> np.ndarray:
    contrast = rng.uniform(0.25, 0.9)
    return uint8(contrast * rgb + (1 - contrast) * rng.uniform(120, 240) * rng.uniform(0.9, 1, 3))


def _bent(rgb: np.ndarray, rng: Random, frame: Random) -> np.ndarray:
    """Apply a gamma curve."""
    return uint8(255 * (rgb / 255) ** np.exp(rng.uniform(-0.5, 0.5)))


def _noisy(rgb: np.ndarray, rng: Random, frame: Random) -> np.ndarray:
    return uint8(rgb + frame.normal(0, rng.uniform(2, 25), rgb.shape))


def _soft(rgb: np.ndarray, rng: Random, frame: Random) -> np.ndarray:
    radius = rng.uniform(0.4, 2.5) * rgb.shape[1] / 640
    return np.array(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(radius)))


def _compressed(rgb: np.ndarray, rng: Random, frame: Random) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, 'JPEG', quality=int(rng.integers(8, 60)))
    return np.array(Image.open(file))


_IMAGE_CHANGES: Final = (_relit, _hazy, _bent, _noisy, _soft, _compressed)
