"""The parts of a scene: objects and their motion, the room with its lights, and the camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.spatial.quaternions import IDENTITY, from_axis_angle, multiply, to_matrix
from instructseg_ros.tabletop.world.catalogue import CatalogueEntry

UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class ShuttleMotion:
    """Motion back and forth on a straight line, with a rest at both ends.

    Attributes:
        manner: One of `scene_graph.MANNERS`.
        direction: (3,) unit vector in the table's frame.
        length: Length of the line, m.
        there: Speed in `direction`, m/s.
        back: Speed in the opposite direction, m/s.
        rest: Time that the object rests at either end, s.
        phase: Offset in time, s.
        roll: Radius on which the object rolls, m; None if it slides.
    """

    manner: str
    direction: np.ndarray
    length: float
    there: float
    back: float
    rest: float
    phase: float
    roll: float | None = None

    def _distance(self, time: float) -> float:
        out, home = self.length / self.there, self.length / self.back
        t = (time + self.phase) % (out + home + 2 * self.rest)
        if t < out + self.rest:
            return min(t * self.there, self.length)
        return max(self.length - (t - out - self.rest) * self.back, 0.0)

    def offset(self, time: float) -> np.ndarray:
        """Displacement (3,) from the pose at rest, m."""
        return self._distance(time) * self.direction

    def rotation(self, time: float) -> np.ndarray:
        """Rotation (x, y, z, w) from the pose at rest."""
        if self.roll is None:
            return IDENTITY
        return from_axis_angle(np.cross(UP, self.direction), self._distance(time) / self.roll)

    def sweep(self) -> np.ndarray:
        """Displacements (n, 3) at most 2 cm apart that cover the whole line, m."""
        count = max(2, int(np.ceil(self.length / 0.02)) + 1)
        return np.linspace(0.0, self.length, count)[:, None] * self.direction


@dataclass(frozen=True, kw_only=True)
class EllipseMotion:
    """Motion around an ellipse on the table: half axes (3,) in m, period in s, phase in periods."""

    manner: str
    first: np.ndarray
    second: np.ndarray
    period: float
    phase: float

    def offset(self, time: float) -> np.ndarray:
        """Displacement (3,) from the pose at rest, m."""
        angle = 2 * np.pi * (time / self.period + self.phase)
        return np.cos(angle) * self.first + np.sin(angle) * self.second

    def rotation(self, time: float) -> np.ndarray:
        """Rotation (x, y, z, w) from the pose at rest: none."""
        return IDENTITY

    def sweep(self) -> np.ndarray:
        """Displacements (n, 3) that cover the whole ellipse, m."""
        return np.stack([self.offset(t) for t in np.linspace(0.0, self.period, 33)[:-1]])


Motion = ShuttleMotion | EllipseMotion


def velocity(motion: Motion, time: float, *, over: float = 2e-3) -> np.ndarray:
    """Mean velocity (3,) during the last `over` seconds, m/s."""
    return (motion.offset(time) - motion.offset(time - over)) / over


def direction(moved: np.ndarray, right: np.ndarray, away: np.ndarray) -> str | None:
    """Return the main direction of a velocity (3,) on the table; None below 3 cm/s or downwards."""
    along = {'right': moved @ right, 'away': moved @ away, 'up': moved[2]}
    name = max(along, key=lambda key: abs(along[key]))
    if abs(along[name]) < 0.03:
        return None
    if along[name] > 0:
        return name
    return {'right': 'left', 'away': 'towards', 'up': None}[name]


ASPECT = 4.0 / 3.0


@dataclass(frozen=True, kw_only=True)
class TableCamera:
    """The pose and field of view of a camera over the table.

    Attributes:
        position: (3,) in the table's frame (z up), m.
        rotation: (3, 3) from the optical frame (x right, y down, z ahead) to the table's frame.
        fovy: Vertical field of view of a 4:3 image, degrees.
    """

    position: np.ndarray
    rotation: np.ndarray
    fovy: float

    def vertical_view(self, width: int, height: int) -> float:
        """Vertical field of view, degrees; images narrower than 4:3 show the full width of 4:3."""
        wider = max(1.0, ASPECT * height / width)
        return float(np.rad2deg(2 * np.arctan(np.tan(np.deg2rad(self.fovy) / 2) * wider)))

    def pinhole(self, width: int, height: int) -> Pinhole:
        """Return the pinhole model for images of this size, pixels."""
        focal = 0.5 * height / np.tan(np.deg2rad(self.vertical_view(width, height)) / 2)
        return Pinhole(
            fx=focal, fy=focal, cx=(width - 1) / 2, cy=(height - 1) / 2, width=width, height=height
        )

    def to_optical(self, points: np.ndarray) -> np.ndarray:
        """Transform points (..., 3) from the table's frame to the optical frame, m."""
        return (points - self.position) @ self.rotation

    def table_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors (3,) on the table that point right and away as seen by the camera."""
        right = self.rotation[:, 0] * np.array([1.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        return right, np.array([-right[1], right[0], 0.0])


@dataclass(frozen=True, kw_only=True)
class PlacedObject:
    """An object placed in a scene.

    Attributes:
        label: Its value in label images, from 1.
        entry: Its catalogue entry.
        color: Name of its color.
        rgb: (3,) its color, 0 to 1.
        center: (3,) its centre at rest (half its height above its base), in the table's frame, m.
        orientation: (x, y, z, w) quaternion at rest.
        motion: How it moves; None at rest.
        on: Label of the object it lies on.
        inside: Label of the container it is in.
    """

    label: int
    entry: CatalogueEntry
    color: str
    rgb: np.ndarray
    center: np.ndarray
    orientation: np.ndarray
    motion: Motion | None = None
    on: int | None = None
    inside: int | None = None

    def pose(self, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centre and base point (3,), m, and orientation (x, y, z, w) at `time` seconds."""
        center, orientation = self.center, self.orientation
        if self.motion is not None:
            center = center + self.motion.offset(time)
            orientation = multiply(self.motion.rotation(time), orientation)
        up = to_matrix(orientation)[:, 2]
        return center, center - 0.5 * self.entry.shape.height * up, orientation


@dataclass(frozen=True, kw_only=True)
class Light:
    """A light: position (m), direction (unit vector) and the RGB (0..1) of its parts."""

    position: np.ndarray
    direction: np.ndarray
    diffuse: np.ndarray
    ambient: np.ndarray
    specular: np.ndarray
    spot: bool


@dataclass(frozen=True, kw_only=True)
class Room:
    """The surroundings of the objects.

    Attributes:
        table: Half sides of the table, m.
        turn: Angle of the table about z, rad.
        wall: Distance of the wall behind the table, m.
        lights: Main light and fill light.
        gloss: Index in `mujoco_model.GLOSSES` for each object, by label modulo 16.
        texture_seed: Seed of the textures.
    """

    table: tuple[float, float]
    turn: float
    wall: float
    lights: tuple[Light, Light]
    gloss: tuple[int, ...]
    texture_seed: int


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that determines an image, except the time."""

    camera: TableCamera
    room: Room
    objects: tuple[PlacedObject, ...]


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
    """Draw table, wall and lights."""
    return Room(
        table=(rng.uniform(0.55, 0.95), rng.uniform(0.5, 0.8)),
        turn=rng.uniform(0, 2 * np.pi),
        wall=rng.uniform(1.1, 2.4),
        lights=_lights(rng),
        gloss=tuple(int(g) for g in rng.integers(0, 3, 16)),
        texture_seed=int(rng.integers(2**31)),
    )


def looking_at(
    target: np.ndarray,
    *,
    distance: float,
    azimuth: float,
    elevation: float,
    roll: float,
    fovy: float,
) -> TableCamera:
    """A camera `distance` metres from `target`; angles in radians, fovy in degrees."""
    level = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    ahead = np.cos(elevation) * level - np.sin(elevation) * np.array([0.0, 0.0, 1.0])
    right = np.array([level[1], -level[0], 0.0])
    down = np.cross(ahead, right)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.stack([c * right + s * down, c * down - s * right, ahead], axis=1)
    return TableCamera(position=target - distance * ahead, rotation=rotation, fovy=fovy)


def random_camera(rng: np.random.Generator) -> TableCamera:
    """Draw a camera that looks down at the table, as one on a robot does."""
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
