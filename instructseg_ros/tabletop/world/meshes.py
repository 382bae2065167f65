"""Triangle meshes from lathe profiles, outlines and swept tubes, in metres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

CREASE = np.cos(np.deg2rad(42.0))


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A closed triangle mesh: `vertices` (n, 3) in metres, `faces` (m, 3), outward winding."""

    vertices: np.ndarray
    faces: np.ndarray

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
        """The mesh shifted by (x, y, z) metres."""
        return replace(self, vertices=self.vertices + np.array([x, y, z]))

    def scaled(self, x: float, y: float, z: float) -> Mesh:
        """The mesh stretched along the axes by positive factors."""
        return replace(self, vertices=self.vertices * np.array([x, y, z]))

    def rotated(self, matrix: np.ndarray) -> Mesh:
        """The mesh turned by a 3x3 rotation matrix."""
        return replace(self, vertices=self.vertices @ np.asarray(matrix).T)

    def creased(self) -> Mesh:
        """The mesh with its vertices doubled at creases, so that smooth shading stops there."""
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
    """Turn a profile of (radius, z) points, listed outside upwards, around the z axis.

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
    """A slab with an outline star-shaped about its mean (x, y), counter-clockwise, from z = 0."""
    flat = np.asarray(outline, float)
    rings = np.stack([np.column_stack([flat, np.full(len(flat), z)]) for z in (0.0, thickness)])
    return _capped(rings, rings[0].mean(0), rings[1].mean(0))


def box(x: float, y: float, z: float) -> Mesh:
    """A cuboid of the given sides, centred in x and y, standing on z = 0."""
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
    """A tube along `path` (n, 3); `flatness` shrinks it along `up`, which no tangent may equal."""
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
