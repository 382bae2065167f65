"""Finds the surface that a target stands on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.spatial.points import points_in, window_of

SUPPORTERS = 3  # of a pixel's eight neighbours; a straight edge leaves it five, a corner three


def box_count(mask: np.ndarray, radius: int) -> np.ndarray:
    """Return (H, W) int how many pixels of a mask lie in the square around each pixel."""
    side = 2 * radius + 1
    padded = np.pad(mask.astype(np.int64), ((radius + 1, radius), (radius + 1, radius)))
    total = padded.cumsum(0).cumsum(1)
    return total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]


def grown(mask: np.ndarray, radius: int) -> np.ndarray:
    """Return a mask (H, W) with everything that is at most `radius` pixels off, also diagonally."""
    return box_count(mask, radius) > 0


def steadied(z: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return depth without flying pixels, and with less noise.

    A pixel is kept if three of its eight neighbours in the mask lie within 1 % and 1 cm of it in
    depth: what flies between a thing and its background has fewer. It becomes the mean of itself
    and of opposite pairs of such neighbours, which leaves slopes and borders where they are.

    Args:
        z: (H, W) m, NaN without depth.
        inside: (H, W) bool, the mask.

    Returns:
        (H, W) m, NaN outside the mask and for what was dropped.
    """
    near = np.pad(np.where(inside, z, np.nan), 1, constant_values=np.nan)
    here = near[1:-1, 1:-1]
    height, width = z.shape
    limit = 0.01 + 0.01 * here
    count = np.zeros(z.shape, int)
    total, weight = here.copy(), np.ones(z.shape)
    for row, column in ((0, 1), (1, 0), (1, 1), (1, -1)):
        first = near[1 + row : 1 + row + height, 1 + column : 1 + column + width]
        second = near[1 - row : 1 - row + height, 1 - column : 1 - column + width]
        a, b = np.abs(first - here) <= limit, np.abs(second - here) <= limit
        count += a.astype(int) + b
        both = a & b
        total[both] += first[both] + second[both]
        weight[both] += 2
    return np.where(count >= SUPPORTERS, total / weight, np.nan)


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A window of an image.

    Attributes:
        mask: (h, w) bool, the target.
        points: (h, w, 3) m in the optical frame, NaN without depth.
        steady: (h, w, 3) m, those of the target without flying pixels and noise, NaN elsewhere.
        pinhole: The camera, for columns and rows of the window.
    """

    mask: np.ndarray = field(repr=False)
    points: np.ndarray = field(repr=False)
    steady: np.ndarray = field(repr=False)
    pinhole: Pinhole

    @staticmethod
    def of(depth: np.ndarray, pinhole: Pinhole, mask: np.ndarray) -> View:
        """Return what surrounds a mask (H, W) that has a pixel, as far as its size.

        Args:
            depth: (h, w) m along the optical axis, NaN without.
            pinhole: The camera, of any resolution.
            mask: (H, W) bool.
        """
        size = max(each.stop - each.start for each in window_of(mask))
        window = window_of(mask, margin=max(32, size))
        points = points_in(window, depth, pinhole, mask.shape).astype(float)
        inside, z = mask[window], points[..., 2]
        with np.errstate(invalid='ignore'):
            steady = points * (steadied(z, inside) / z)[..., None]
        camera = pinhole.scaled(mask.shape[1], mask.shape[0])
        camera = replace(camera, cx=camera.cx - window[1].start, cy=camera.cy - window[0].start)
        return View(mask=inside, points=points, steady=steady, pinhole=camera)

    def target(self) -> np.ndarray:
        """Return the points (n, 3) of the target that are to be trusted, m."""
        return self.steady[np.isfinite(self.steady[..., 2])]


TOLERANCE: Final = 0.006  # of the distance, within which a point lies on a plane
LEAST_SHARE: Final = 0.3  # of what surrounds a target that must lie on its plane
LEAST_POINTS: Final = 60
DRAWS: Final = 200
SAMPLE: Final = 800  # points that a draw is judged by
GAP: Final = 3  # pixels around a mask that are neither target nor surroundings for certain
RING: Final = 6  # pixels beyond that show what a target touches
LEVEL_SHARE: Final = 0.25  # of the ring that a raised support must cover


@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """A plane in the optical frame.

    Attributes:
        normal: (3,) unit vector to the camera's side: up.
        offset: normal @ p of its points p, m.
    """

    normal: np.ndarray
    offset: float

    def heights(self, points: np.ndarray) -> np.ndarray:
        """Return how far points (..., 3) lie above, m."""
        return points @ self.normal - self.offset


def support_plane(view: View) -> Plane | None:
    """Return the plane that a target stands on, None where none is plausible.

    Its direction is that of the plane through most of what surrounds the target; its height that
    of the highest level, not above the target's lowest points, that a quarter of the pixels next
    to the target lie on: a book's, for what lies on a book on a table.
    """
    around = ~grown(view.mask, GAP) & np.isfinite(view.points[..., 2])
    plane = fit_plane(view.points[around], view.target())
    if plane is None:
        return None
    low = float(np.quantile(plane.heights(view.target()), 0.01))
    beside = around & grown(view.mask, GAP + RING)
    heights = plane.heights(view.points[beside])
    if len(heights) < LEAST_POINTS or low < -0.05:
        return plane
    return Plane(normal=plane.normal, offset=plane.offset + _level(heights, low))


def _level(heights: np.ndarray, low: float) -> float:
    """Return the highest level among heights, m, that is not above `low`; 0 without another."""
    for level in np.arange(min(low, float(heights.max())), 0.008, -0.002):
        on = np.abs(heights - level) < 0.004
        if on.mean() > LEVEL_SHARE:
            return float(np.median(heights[on]))
    return 0.0


def fit_plane(points: np.ndarray, above: np.ndarray) -> Plane | None:
    """Return the plane through most of some points (n, 3), m, by RANSAC with a fixed seed.

    Most of the points `above` (m, 3) lie on the camera's side of it.

    None for fewer than 60 points, or where less than 30 % lie within 0.6 % of their distance.
    """
    if len(points) < LEAST_POINTS:
        return None
    rng = np.random.default_rng(0)
    sample = points[rng.permutation(len(points))[:SAMPLE]]
    limit = TOLERANCE * float(np.median(sample[:, 2]))
    normals, offsets = _draws(sample, rng)
    on = np.abs(sample @ normals.T - offsets) < limit
    standing = above[rng.permutation(len(above))[: SAMPLE // 4]]
    over = standing @ normals.T - offsets > -limit
    votes = np.where(over.mean(0) > 0.9, on.sum(0), 0)
    if not len(votes) or votes.max() < LEAST_SHARE * len(sample):
        return None
    inliers = sample[on[:, int(votes.argmax())]]
    for tighter in (1.0, 0.7, 0.5):
        plane = _least_squares(inliers)
        inliers = points[np.abs(plane.heights(points)) < tighter * limit]
        if len(inliers) < LEAST_POINTS:
            return None
    return _least_squares(inliers)


def _draws(points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return normals (d, 3) to the camera's side, and offsets (d,), of planes through three."""
    first, second, third = points[rng.integers(0, len(points), (3, DRAWS))]
    normals = np.cross(second - first, third - first)
    length = np.linalg.norm(normals, axis=1)
    proper = length > 1e-9  # no three in a line
    normals = normals[proper] / length[proper, None]
    offsets = (normals * first[proper]).sum(1)
    side = -np.sign(offsets)
    return side[:, None] * normals, side * offsets


def _least_squares(points: np.ndarray) -> Plane:
    middle = points.mean(0)
    _, vectors = np.linalg.eigh(np.cov((points - middle).T))
    normal = vectors[:, 0]
    normal = normal if normal @ middle < 0 else -normal
    return Plane(normal=normal, offset=float(normal @ middle))
