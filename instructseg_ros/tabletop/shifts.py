"""Changed pictures of the tabletop: light, lens, background, viewpoint and covered objects.

A model that was trained on the plain pictures is benchmarked on these. Each shift has a fixed
strength at which a person still recognises every object that is large enough to be seen.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from instructseg_ros.tabletop.world.arrangement import random_scene
from instructseg_ros.tabletop.world.scene import Scene, TableCamera, looking_at
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop

Random: TypeAlias = np.random.Generator
SceneChange: TypeAlias = Callable[[Scene, Random, float], Scene]
PixelChange: TypeAlias = Callable[[np.ndarray, Random], np.ndarray]
Background: TypeAlias = Callable[[int, int, Random], np.ndarray]


def _same_scene(scene: Scene, rng: Random, time: float) -> Scene:
    return scene


def _same_pixels(rgb: np.ndarray, rng: Random) -> np.ndarray:
    return rgb


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shift:
    """A change of the pictures of a scene; without arguments, none.

    Attributes:
        scene: Returns the changed scene. Its arguments are the scene, a random source in the same
            state for all frames, and the time relative to the last frame, s.
        pixels: Returns the changed (H, W, 3) uint8 RGB image. Its arguments are the image and a
            random source that differs from frame to frame.
        background: Returns an (H, W, 3) uint8 RGB image that replaces the colors of everything
            but the objects. Its arguments are H, W and a random source in the same state for all
            frames.
        cover: Whether a plain rectangle covers one half of about every second object.
        size: (width, height) of the image, pixels; None: as usual.
        motion: Whether instructions about motion are asked, instead of those about objects at rest.
    """

    scene: SceneChange = _same_scene
    pixels: PixelChange = _same_pixels
    background: Background | None = None
    cover: bool = False
    size: tuple[int, int] | None = None
    motion: bool = False


UNSHIFTED: Final = Shift()


def observe_shifted(
    tabletop: Tabletop, seed: int, times: Sequence[float], shift: Shift = UNSHIFTED
) -> list[Observation]:
    """Render frames of a scene under a shift.

    Args:
        tabletop: The camera.
        seed: Seed of the scene.
        times: Times of the frames, s.
        shift: The shift.

    Returns:
        One observation for each time. Only the last one is sure to have ground truth; its labels
        are 0 where an object is covered.
    """
    frames = list(_render(tabletop, seed, times, shift))
    if shift.background is not None:
        frames = _replace_background(frames, shift.background, _random(seed))
    if shift.cover:
        frames = _cover(frames, _random(seed))
    return [
        dataclasses.replace(frame, rgb=shift.pixels(frame.rgb, np.random.default_rng((seed, 2, i))))
        for i, frame in enumerate(frames)
    ]


def _random(seed: int) -> Random:
    """Return the source of everything that is the same in all frames of a scene."""
    return np.random.default_rng((seed, 1))


def _render(
    tabletop: Tabletop, seed: int, times: Sequence[float], shift: Shift
) -> Iterator[Observation]:
    scene, shown = random_scene(seed), None
    labelled = shift.cover or shift.background is not None
    for time in times:
        changed = shift.scene(scene, _random(seed), time - times[-1])
        if changed is not shown:
            tabletop.show(changed)
            shown = changed
        yield tabletop.observe(time, truth=labelled or time == times[-1])


def uint8(values: np.ndarray) -> np.ndarray:
    """Round and clip values to uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _scaled(*gains: float, offset: float = 0.0, sigma: float = 0.0) -> PixelChange:
    """Multiply the channels by one or three gains, add an offset and noise of deviation `sigma`."""

    def change(rgb: np.ndarray, rng: Random) -> np.ndarray:
        noise = rng.normal(0.0, sigma, rgb.shape) if sigma else 0.0
        return uint8(rgb * np.array(gains) + offset + noise)

    return change


def _blurred(rgb: np.ndarray, rng: Random) -> np.ndarray:
    """Blur by a Gaussian of 2.5 pixels at a width of 640."""
    radius = 2.5 * rgb.shape[1] / 640
    return np.array(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(radius)))


def _compressed(rgb: np.ndarray, rng: Random) -> np.ndarray:
    """Compress as JPEG of quality 12."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, 'JPEG', quality=12)
    return np.array(Image.open(file))


def _with_camera(change: Callable[[TableCamera], TableCamera]) -> SceneChange:
    return lambda scene, rng, time: dataclasses.replace(scene, camera=change(scene.camera))


def _aim(camera: TableCamera) -> tuple[np.ndarray, float]:
    """Return the point (3,) where the optical axis meets the table, and its distance, m."""
    ahead = camera.rotation[:, 2]
    distance = float(-camera.position[2] / ahead[2])
    return camera.position + distance * ahead, distance


def farther(camera: TableCamera, factor: float) -> TableCamera:
    """Move a camera back along its optical axis, to `factor` times its distance to the table."""
    target, distance = _aim(camera)
    return dataclasses.replace(camera, position=target - factor * distance * camera.rotation[:, 2])


def _wide(camera: TableCamera) -> TableCamera:
    """View 85 degrees vertically from 0.7 times the distance: nearer, near objects would be cut."""
    return dataclasses.replace(farther(camera, 0.7), fovy=85.0)


def _tele(camera: TableCamera) -> TableCamera:
    """Reduce the field of view to 0.55 of it, from so far that the aim keeps its scale."""
    fovy = 0.55 * camera.fovy
    factor = np.tan(np.deg2rad(camera.fovy) / 2) / np.tan(np.deg2rad(fovy) / 2)
    return dataclasses.replace(farther(camera, float(factor)), fovy=fovy)


def elevated(camera: TableCamera, elevation: float) -> TableCamera:
    """Look at the same point from the same side and distance, at an elevation in degrees."""
    target, distance = _aim(camera)
    right, _, ahead = camera.rotation.T
    return looking_at(
        target,
        distance=distance,
        azimuth=float(np.arctan2(ahead[1], ahead[0])),
        elevation=float(np.deg2rad(elevation)),
        roll=float(np.arcsin(-right[2] / np.hypot(ahead[0], ahead[1]))),
        fovy=camera.fovy,
    )


def drifting(scene: Scene, rng: Random, time: float) -> Scene:
    """Move the camera to its right at 10 cm/s; at time 0 it is where the scene has it."""
    position = scene.camera.position + 0.1 * time * scene.camera.rotation[:, 0]
    return dataclasses.replace(scene, camera=dataclasses.replace(scene.camera, position=position))


def _replace_background(
    frames: Sequence[Observation], background: Background, rng: Random
) -> list[Observation]:
    """Paint everything but the objects, and keep the light and the shadows on it."""
    height, width, _ = frames[-1].rgb.shape
    image = background(height, width, rng)
    changed = []
    for frame in frames:
        assert frame.labels is not None
        empty = frame.labels == 0
        light = frame.rgb.mean(-1)[empty]
        light = np.clip(light / np.median(light), 0.3, 1.4)
        rgb = frame.rgb.copy()
        rgb[empty] = uint8(image[empty] * light[:, None])
        changed.append(dataclasses.replace(frame, rgb=rgb))
    return changed


def smooth_noise(height: int, width: int, cells: int, rng: Random) -> np.ndarray:
    """Draw smooth colorful noise (H, W, 3) float32, 0 to 255, with this many cells per row."""
    grid = rng.integers(0, 256, (max(2, cells * height // width), cells, 3), dtype=np.uint8)
    image = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32)


def color_noise(height: int, width: int, rng: Random) -> np.ndarray:
    """Draw smooth colorful noise at two scales, (H, W, 3) uint8 RGB."""
    coarse, fine = (smooth_noise(height, width, cells, rng) for cells in (6, 24))
    return uint8(0.65 * coarse + 0.35 * fine)


def busy_texture(height: int, width: int, rng: Random) -> np.ndarray:
    """Draw wood-like stripes under 40 random polygons, (H, W, 3) uint8 RGB."""
    rows = np.arange(height)[:, None] / height
    bend = smooth_noise(height, width, 4, rng)[..., 0] / 255
    grain = smooth_noise(height, width, max(2, width // 4), rng)[..., 0] / 255
    stripes = 0.75 + 0.2 * np.sin(2 * np.pi * (14 * rows + 3 * bend)) + 0.15 * (grain - 0.5)
    image = Image.fromarray(uint8(stripes[..., None] * np.array([190.0, 140.0, 95.0])))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        center, radius = rng.uniform(0, (width, height)), rng.uniform(0.02, 0.09) * width
        corners = center + rng.uniform(-radius, radius, (int(rng.integers(3, 7)), 2))
        color = tuple(int(value) for value in rng.integers(20, 236, 3))
        draw.polygon([(float(x), float(y)) for x, y in corners], fill=color)
    return np.array(image)


Box: TypeAlias = tuple[slice, slice]
_MIN_LEFT = 0.4  # share of an object's visible pixels that stays visible


def _cover(frames: Sequence[Observation], rng: Random) -> list[Observation]:
    """Draw the same plain rectangles over parts of the objects of all frames."""
    last = frames[-1]
    assert last.labels is not None
    objects = [obj.label for obj in last.graph]
    boxes = _covered_boxes(last.labels, objects, rng)
    covers = [(box, rng.integers(20, 236, 3)) for box in boxes]
    changed = []
    for frame in frames:
        assert frame.labels is not None
        rgb, labels = frame.rgb.copy(), frame.labels.copy()
        for box, color in covers:
            rgb[box], labels[box] = color, 0
        changed.append(dataclasses.replace(frame, rgb=rgb, labels=labels))
    return changed


def _covered_boxes(labels: np.ndarray, objects: Sequence[int], rng: Random) -> list[Box]:
    """Choose one half of the bounding box of about every second object in labels (H, W).

    A half that would hide too much of any of the objects, such as a neighbour, is not used.
    """
    full = np.bincount(labels.ravel())
    boxes: list[Box] = []
    for label in rng.permutation(objects):
        for box in _halves(labels == label, rng):
            trial = labels.copy()
            trial[box] = 0
            left = np.bincount(trial.ravel(), minlength=len(full))
            if 2 * len(boxes) < len(objects) and (left >= _MIN_LEFT * full)[objects].all():
                boxes, labels = [*boxes, box], trial
                break
    return boxes


def _halves(mask: np.ndarray, rng: Random) -> list[Box]:
    """Return the left, right, upper and lower half of a mask's bounding box in random order."""
    box = Image.fromarray(mask).getbbox()
    assert box is not None
    left, top, right, bottom = box
    row, column = (top + bottom) // 2, (left + right) // 2
    halves = [
        (slice(top, bottom), slice(left, column)),
        (slice(top, bottom), slice(column, right)),
        (slice(top, row), slice(left, right)),
        (slice(row, bottom), slice(left, right)),
    ]
    return [halves[i] for i in rng.permutation(4)]


SHIFTS: Final[dict[str, Shift]] = {
    'noise': Shift(pixels=_scaled(1.0, sigma=20.0)),
    'blur': Shift(pixels=_blurred),
    'jpeg': Shift(pixels=_compressed),
    'warm cast': Shift(pixels=_scaled(1.15, 0.97, 0.7)),
    'cold cast': Shift(pixels=_scaled(0.78, 0.97, 1.15)),
    # A quarter of the light, at which a sensor's own noise shows.
    'dark': Shift(pixels=_scaled(0.25, sigma=4.0)),
    # 35 % of the contrast, towards light grey.
    'haze': Shift(pixels=_scaled(0.35, offset=0.65 * 210)),
    'bright': Shift(pixels=_scaled(1.5)),
    'far': Shift(scene=_with_camera(lambda camera: farther(camera, 1.6))),
    'very far': Shift(scene=_with_camera(lambda camera: farther(camera, 2.5))),
    'wide': Shift(scene=_with_camera(_wide)),
    'tele': Shift(scene=_with_camera(_tele)),
    # So much farther that nearly all objects stay in the picture.
    'low': Shift(scene=_with_camera(lambda camera: farther(elevated(camera, 18.0), 1.2))),
    'high': Shift(scene=_with_camera(lambda camera: farther(elevated(camera, 82.0), 1.3))),
    'portrait': Shift(size=(480, 640)),
    'drifting camera': Shift(scene=drifting, motion=True),
    'colour-noise table': Shift(background=color_noise),
    'photo-like table': Shift(background=busy_texture),
    'half hidden': Shift(cover=True),
}
