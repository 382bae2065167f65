"""A scene: what stands where, how it moves, the light and the camera; drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instructseg_ros.tabletop.world.catalogue import Article
from instructseg_ros.tabletop.world.motions import Motion
from instructseg_ros.tabletop.world.pinhole_camera import Camera, looking_at
from instructseg_ros.tabletop.world.quaternions import compose, to_matrix


@dataclass(frozen=True, kw_only=True)
class Item:
    """A thing placed in a scene.

    `center` (3,) is where its middle, half its height above its base, lies in the table's frame
    before it moves; `orientation` is a quaternion. `on` and `inside` are labels of other items.
    """

    label: int
    article: Article
    color: str
    rgb: np.ndarray
    center: np.ndarray
    orientation: np.ndarray
    motion: Motion | None = None
    on: int | None = None
    inside: int | None = None

    def pose(self, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centre, base point (both (3,), m) and orientation quaternion at a time in seconds."""
        center, orientation = self.center, self.orientation
        if self.motion is not None:
            center = center + self.motion.offset(time)
            orientation = compose(self.motion.rotation(time), orientation)
        up = to_matrix(orientation)[:, 2]
        return center, center - 0.5 * self.article.shape.height * up, orientation


@dataclass(frozen=True, kw_only=True)
class Light:
    """One light: where it is, where it shines (unit vector), RGB of its parts (0..1)."""

    position: np.ndarray
    direction: np.ndarray
    diffuse: np.ndarray
    ambient: np.ndarray
    specular: np.ndarray
    spot: bool


@dataclass(frozen=True, kw_only=True)
class Room:
    """The table (half sides in m, turn about z in rad), the wall behind it and the two lights."""

    table: tuple[float, float]
    turn: float
    wall: float
    lights: tuple[Light, Light]
    gloss: tuple[int, ...]
    texture_seed: int


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything a picture needs but the time."""

    camera: Camera
    room: Room
    items: tuple[Item, ...]


def _tint(rng: np.random.Generator, spread: float) -> np.ndarray:
    warmth = rng.uniform(-spread, spread)
    return np.array([1.0 + warmth, 1.0, 1.0 - warmth])


def _lights(rng: np.random.Generator) -> tuple[Light, Light]:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(42, 82))
    above = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    bright = rng.uniform(0.48, 0.78)
    ambient = rng.uniform(0.34, 0.52)
    tint = _tint(rng, 0.07)
    key = Light(
        position=1.6 * above,
        direction=-above,
        diffuse=bright * tint,
        ambient=0.5 * ambient * tint,
        specular=np.full(3, rng.uniform(0.1, 0.4)),
        spot=bool(rng.uniform() < 0.5),
    )
    side = azimuth + rng.uniform(0.5, 1.5) * np.pi
    other = np.array([0.6 * np.cos(side), 0.6 * np.sin(side), 0.8])
    fill = Light(
        position=2.0 * other,
        direction=-other,
        diffuse=rng.uniform(0.1, 0.28) * _tint(rng, 0.07),
        ambient=0.5 * ambient * tint,
        specular=np.zeros(3),
        spot=False,
    )
    return key, fill


def random_room(rng: np.random.Generator) -> Room:
    """Table, wall and light."""
    return Room(
        table=(rng.uniform(0.55, 0.95), rng.uniform(0.5, 0.8)),
        turn=rng.uniform(0, 2 * np.pi),
        wall=rng.uniform(1.1, 2.4),
        lights=_lights(rng),
        gloss=tuple(int(g) for g in rng.integers(0, 3, 16)),
        texture_seed=int(rng.integers(2**31)),
    )


def random_camera(rng: np.random.Generator) -> Camera:
    """A camera on a robot that looks down at the table."""
    target = np.array([rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06), 0.0])
    fovy = rng.uniform(45, 60)
    nearest = 0.56 + 0.2 * (60 - fovy) / 15
    return looking_at(
        target,
        distance=rng.uniform(nearest, nearest + 0.24),
        azimuth=rng.uniform(0, 2 * np.pi),
        elevation=np.deg2rad(rng.uniform(33, 60)),
        roll=np.deg2rad(rng.normal(0, 2.0)),
        fovy=fovy,
    )
