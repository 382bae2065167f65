"""Finds the surface that a target stands on, by RANSAC on the depth around it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from instructseg_ros.spatial.pinhole import Pinhole, bounding_window, deproject_window

TOLERANCE: Final = 0.006  # largest distance from a plane, as a share of the distance to the camera
MIN_SHARE: Final = 0.3  # share of the surroundings that must lie on the plane
MIN_POINTS: Final = 60
DRAWS: Final = 200
SAMPLE: Final = 800  # points that vote on the draws
GAP: Final = 3  # pixels around a mask that may belong to the target or to its surroundings
RING: Final = 6  # pixels beyond the gap, which show what the target touches
LEVEL_SHARE: Final = 0.25  # share of the ring that a raised support must cover
# Minimum number of the eight neighbours with similar depth; a pixel at a straight edge has five, at
# a corner three.
MIN_SUPPORT: Final = 3


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """Dilate an (H, W) bool mask by `radius` pixels, also diagonally."""
    side = 2 * radius + 1
    padded = np.pad(mask.astype(np.int64), ((radius + 1, radius), (radius + 1, radius)))
    sums = padded.cumsum(0).cumsum(1)
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return inside > 0


def denoise_depth(z: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Drop flying pixels of a depth image, and average its noise.

    A pixel is kept if three of its eight neighbours in the mask are within 1 cm plus 1 % of its
    depth; pixels that fly between an object and its background have fewer. A kept pixel becomes the
    mean of itself and of opposite pairs of such neighbours, which preserves slopes and borders.

    Args:
        z: (H, W) m, NaN without depth.
        inside: (H, W) bool, the mask.

    Returns:
        (H, W) m, NaN outside the mask and for dropped pixels.
    """
    padded = np.pad(np.where(inside, z, np.nan), 1, constant_values=np.nan)
    here = padded[1:-1, 1:-1]
    height, width = z.shape
    limit = 0.01 + 0.01 * here
    count = np.zeros(z.shape, int)
    total, weight = here.copy(), np.ones(z.shape)
    for row, column in ((0, 1), (1, 0), (1, 1), (1, -1)):
        first = padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]
        second = padded[1 - row : 1 - row + height, 1 - column : 1 - column + width]
        a, b = np.abs(first - here) <= limit, np.abs(second - here) <= limit
        count += a.astype(int) + b
        both = a & b
        total[both] += first[both] + second[both]
        weight[both] += 2
    return np.where(count >= MIN_SUPPORT, total / weight, np.nan)


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetView:
    """A target and its surroundings, in a window of an image.

    Attributes:
        mask: (h, w) bool, the target.
        points: (h, w, 3) m in the optical frame, NaN without depth.
        denoised: (h, w, 3) m, the target without flying pixels and noise, NaN elsewhere.
        pinhole: The camera, for columns and rows of the window.
    """

    mask: np.ndarray = field(repr=False)
    points: np.ndarray = field(repr=False)
    denoised: np.ndarray = field(repr=False)
    pinhole: Pinhole

    @staticmethod
    def from_depth(depth: np.ndarray, pinhole: Pinhole, mask: np.ndarray) -> TargetView:
        """Cut out a target with a margin as large as the target.

        Args:
            depth: (h, w) m along the optical axis, NaN without depth.
            pinhole: The camera, at any resolution.
            mask: (H, W) bool with at least one pixel.
        """
        size = max(each.stop - each.start for each in bounding_window(mask))
        window = bounding_window(mask, margin=max(32, size))
        points = deproject_window(window, depth, pinhole, mask.shape).astype(float)
        inside, z = mask[window], points[..., 2]
        with np.errstate(invalid='ignore'):
            denoised = points * (denoise_depth(z, inside) / z)[..., None]
        camera = pinhole.scaled(mask.shape[1], mask.shape[0])
        camera = replace(camera, cx=camera.cx - window[1].start, cy=camera.cy - window[0].start)
        return TargetView(mask=inside, points=points, denoised=denoised, pinhole=camera)

    def target(self) -> np.ndarray:
        """Return the reliable points (n, 3) of the target, m."""
        return self.denoised[np.isfinite(self.denoised[..., 2])]


@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """A plane in the optical frame.

    Attributes:
        normal: (3,) unit vector, up: towards the camera's side.
        offset: normal @ p for its points p, m.
    """

    normal: np.ndarray
    offset: float

    def heights(self, points: np.ndarray) -> np.ndarray:
        """Return the heights of points (..., 3) above the plane, m."""
        return points @ self.normal - self.offset


def support_plane(view: TargetView) -> Plane | None:
    """Return the plane that a target stands on; None if none is plausible.

    Its direction is that of the plane through most points around the target. Its height is the
    highest level below the target that contains a quarter of the pixels next to the target. For a
    cup on a book on a table, that is the level of the book.
    """
    around = ~dilate(view.mask, GAP) & np.isfinite(view.points[..., 2])
    plane = fit_plane(view.points[around], view.target())
    if plane is None:
        return None
    low = float(np.quantile(plane.heights(view.target()), 0.01))
    ring = around & dilate(view.mask, GAP + RING)
    heights = plane.heights(view.points[ring])
    if len(heights) < MIN_POINTS or low < -0.05:
        return plane
    return Plane(normal=plane.normal, offset=plane.offset + _level(heights, low))


def _level(heights: np.ndarray, low: float) -> float:
    """Return the highest well-covered level of heights, m, up to `low`; 0 if there is none."""
    for level in np.arange(min(low, float(heights.max())), 0.008, -0.002):
        on = np.abs(heights - level) < 0.004
        if on.mean() > LEVEL_SHARE:
            return float(np.median(heights[on]))
    return 0.0


def fit_plane(points: np.ndarray, above: np.ndarray) -> Plane | None:
    """Fit a plane to as many points as possible, by RANSAC with a fixed seed.

    Args:
        points: (n, 3) m.
        above: (m, 3) m; most of these points must lie on the camera's side of the plane.

    Returns:
        The plane; None if there are fewer than 60 points, or if fewer than 30 % of them are close
        to the plane (within 0.6 % of their distance to the camera).
    """
    if len(points) < MIN_POINTS:
        return None
    rng = np.random.default_rng(0)
    sample = points[rng.permutation(len(points))[:SAMPLE]]
    limit = TOLERANCE * float(np.median(sample[:, 2]))
    normals, offsets = _draws(sample, rng)
    on = np.abs(sample @ normals.T - offsets) < limit
    target = above[rng.permutation(len(above))[: SAMPLE // 4]]
    over = target @ normals.T - offsets > -limit
    votes = np.where(over.mean(0) > 0.9, on.sum(0), 0)
    if not len(votes) or votes.max() < MIN_SHARE * len(sample):
        return None
    inliers = sample[on[:, int(votes.argmax())]]
    for tighter in (1.0, 0.7, 0.5):
        plane = _least_squares(inliers)
        inliers = points[np.abs(plane.heights(points)) < tighter * limit]
        if len(inliers) < MIN_POINTS:
            return None
    return _least_squares(inliers)


def _draws(points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return normals (d, 3) and offsets (d,) of planes through random triples of points."""
    first, second, third = points[rng.integers(0, len(points), (3, DRAWS))]
    normals = np.cross(second - first, third - first)
    length = np.linalg.norm(normals, axis=1)
    proper = length > 1e-9  # not three points on a line
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
