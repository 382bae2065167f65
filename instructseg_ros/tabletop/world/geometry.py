"""Triangle meshes, and the shapes of objects that are composed of them; metres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

CREASE = np.cos(np.deg2rad(42.0))


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A closed triangle mesh: `vertices` (n, 3) in metres, `faces` (m, 3) with outward normals."""

    vertices: np.ndarray
    faces: np.ndarray

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
        """Return the mesh, translated by (x, y, z) metres."""
        return replace(self, vertices=self.vertices + np.array([x, y, z]))

    def scaled(self, x: float, y: float, z: float) -> Mesh:
        """Return the mesh, scaled along the axes by positive factors."""
        return replace(self, vertices=self.vertices * np.array([x, y, z]))

    def rotated(self, matrix: np.ndarray) -> Mesh:
        """Return the mesh, rotated by a (3, 3) matrix."""
        return replace(self, vertices=self.vertices @ np.asarray(matrix).T)

    def creased(self) -> Mesh:
        """Return the mesh with duplicate vertices at creases, where smooth shading then stops."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        weighted = np.cross(b - a, c - a)
        unit = weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)
        corner = np.argsort(self.faces.ravel(), kind='stable')
        starts = np.flatnonzero(np.diff(self.faces.ravel()[corner], prepend=-1))
        faces = np.empty(self.faces.size, int)
        origin: list[int] = []
        for around in np.split(corner, starts[1:]):
            normals = unit[around // 3]
            summed = (normals @ normals.T > CREASE) @ weighted[around // 3]
            _, side = np.unique(_rounded(summed), axis=0, return_inverse=True)
            faces[around] = len(origin) + side.ravel()
            origin += [int(self.faces.ravel()[around[0]])] * (int(side.max()) + 1)
        return Mesh(vertices=self.vertices[origin], faces=faces.reshape(-1, 3))


def _rounded(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.round(vectors / np.maximum(length, 1e-12), 2) + 0.0


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    """Faces of a tube of `rows` rings with `columns` vertices each."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing='ij')
    here, beside = i * columns + j, i * columns + (j + 1) % columns
    above, across = here + columns, beside + columns
    first = np.stack([here, beside, across], -1)
    second = np.stack([here, across, above], -1)
    return np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)])


def _capped(rings: np.ndarray, low: np.ndarray, high: np.ndarray) -> Mesh:
    """A tube of rings (rows, columns, 3), closed by fans around the points `low` and `high`."""
    rows, columns, _ = rings.shape
    start, end = rows * columns, rows * columns + 1
    j = np.arange(columns)
    following = (j + 1) % columns
    last = (rows - 1) * columns
    bottom = np.stack([np.full(columns, start), following, j], -1)
    top = np.stack([np.full(columns, end), last + j, last + following], -1)
    vertices = np.concatenate([rings.reshape(-1, 3), low[None], high[None]])
    return Mesh(vertices=vertices, faces=np.concatenate([_grid_faces(rows, columns), bottom, top]))


def lathe(profile: Sequence[tuple[float, float]], *, segments: int = 24) -> Mesh:
    """Revolve a profile of (radius, z) points around the z axis.

    The profile runs upwards along the outer surface, and then downwards along an inner one, if any.
    Ends that are not on the axis are closed by a flat disc.
    """
    points = np.asarray(profile, float)
    low, high = np.array([0.0, 0.0, points[0, 1]]), np.array([0.0, 0.0, points[-1, 1]])
    points = points[points[:, 0] > 1e-9]
    angle = np.linspace(0.0, 2 * np.pi, segments, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    around = points[:, None, :1] * circle[None]
    height = np.broadcast_to(points[:, None, 1:], (len(points), segments, 1))
    return _capped(np.concatenate([around, height], -1), low, high)


def sphere(radius: float, *, rings: int = 14, segments: int = 24) -> Mesh:
    """A ball around the origin."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, rings)
    return lathe(
        list(zip(radius * np.cos(angle), radius * np.sin(angle), strict=True)), segments=segments
    )


def extrude(outline: Sequence[tuple[float, float]], thickness: float) -> Mesh:
    """Extrude a counter-clockwise outline, star-shaped about its mean, upwards from z = 0."""
    flat = np.asarray(outline, float)
    rings = np.stack([np.column_stack([flat, np.full(len(flat), z)]) for z in (0.0, thickness)])
    return _capped(rings, rings[0].mean(0), rings[1].mean(0))


def box(x: float, y: float, z: float) -> Mesh:
    """A cuboid centred in x and y that stands on z = 0."""
    corners = [(-x / 2, -y / 2), (x / 2, -y / 2), (x / 2, y / 2), (-x / 2, y / 2)]
    return extrude(corners, z)


def sweep(
    path: np.ndarray,
    radius: float | np.ndarray,
    *,
    up: Sequence[float] = (0.0, 0.0, 1.0),
    flatness: float = 1.0,
    segments: int = 10,
) -> Mesh:
    """A tube along a path (n, 3), flattened along `up`; no part of the path may run along `up`."""
    points = np.asarray(path, float)
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(np.asarray(up, float), tangent)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    over = np.cross(tangent, side)
    angle = np.linspace(0.0, 2 * np.pi, segments, endpoint=False)
    radii = np.broadcast_to(radius, (len(points),))[:, None, None]
    ring = (
        np.cos(angle)[None, :, None] * side[:, None]
        + flatness * np.sin(angle)[None, :, None] * over[:, None]
    )
    return _capped(points[:, None] + radii * ring, points[0], points[-1])


TRIMS: dict[str, tuple[float, float, float]] = {
    'pages': (0.90, 0.87, 0.78),
    'metal': (0.60, 0.60, 0.62),
    'rubber': (0.07, 0.07, 0.07),
    'glass': (0.20, 0.25, 0.30),
    'stem': (0.28, 0.17, 0.08),
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A mesh and its shade: 'main' (the object's color), 'light', 'dark' or one of TRIMS."""

    mesh: Mesh
    shade: str = 'main'


@dataclass(frozen=True, kw_only=True)
class Hollow:
    """Inside of a container: radii of its mouth and floor, and height of its floor, m."""

    mouth: float
    floor: float
    bottom: float


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Flat top that can carry another object: its radius and height, m."""

    radius: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of an object that stands on z = 0 with its long side along x; metres.

    Attributes:
        parts: Its colored parts.
        discs: (n, 3) circles of x, y and radius that cover its footprint.
        height: Its height.
        hollow: Its inside, if it is a container.
        platform: Its top, if it can carry objects.
        roll: Radius on which it rolls; None if it does not.
    """

    parts: tuple[Part, ...]
    discs: np.ndarray
    height: float
    hollow: Hollow | None = None
    platform: Platform | None = None
    roll: float | None = None

    def scaled(self, factor: float) -> Shape:
        """Return the shape, scaled in all directions."""
        hollow, platform = self.hollow, self.platform
        if hollow is not None:
            hollow = Hollow(
                mouth=hollow.mouth * factor,
                floor=hollow.floor * factor,
                bottom=hollow.bottom * factor,
            )
        if platform is not None:
            platform = Platform(radius=platform.radius * factor, height=platform.height * factor)
        return Shape(
            parts=tuple(replace(p, mesh=p.mesh.scaled(factor, factor, factor)) for p in self.parts),
            discs=self.discs * factor,
            height=self.height * factor,
            hollow=hollow,
            platform=platform,
            roll=None if self.roll is None else self.roll * factor,
        )

    @property
    def length(self) -> float:
        """Length of its footprint along x."""
        return float(2 * (np.abs(self.discs[:, 0]) + self.discs[:, 2]).max())

    @property
    def reach(self) -> float:
        """Radius of its footprint around the z axis."""
        return float((np.hypot(self.discs[:, 0], self.discs[:, 1]) + self.discs[:, 2]).max())

    def vertices(self) -> np.ndarray:
        """All vertices of all parts (n, 3)."""
        return np.concatenate([part.mesh.vertices for part in self.parts])


def disc(radius: float) -> np.ndarray:
    """A round footprint."""
    return np.array([[0.0, 0.0, radius]])


def strip(length: float, width: float) -> np.ndarray:
    """A long footprint, covered by a row of circles along x."""
    radius = 0.5 * np.hypot(width, width)
    count = max(1, int(np.ceil(length / width)))
    centres = (np.arange(count) + 0.5) * length / count - length / 2
    return np.column_stack([centres, np.zeros(count), np.full(count, radius)])


def tinted(color: np.ndarray, shade: str) -> np.ndarray:
    """Return the RGB of a part with this shade, for an object of this color."""
    if shade in TRIMS:
        return np.array(TRIMS[shade])
    if shade == 'light' or (shade == 'dark' and color.max() < 0.2):
        return color + 0.3 * (1.0 - color) * (1.0 if shade == 'light' else 0.4)
    return color * (0.62 if shade == 'dark' else 1.0)
