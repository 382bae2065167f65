"""Fits a 3-D box to a target, including the part that the camera cannot see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from instructseg_ros.spatial.depth import check_same_view, nearest
from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.spatial.plane import Plane, TargetView, support_plane
from instructseg_ros.spatial.quaternions import from_matrix

MIN_POINTS: Final = 20
OUTLIERS: Final = 0.002  # share of the points that may lie beyond each side of a box
MIN_GAP: Final = 0.012  # m; a target floats if the gap visible below it exceeds MIN_GAP
FLOATING: Final = 1.6  # plus this many times the gap that is visible below a standing ball
TOLERANCE: Final = 0.004  # largest difference in depth within one surface, m
SAMPLE: Final = 300  # points that score a symmetry
MAX_CONTRADICTED: Final = 0.1  # share of the moved points that may lie in visibly empty space
MIRROR_ANGLES: Final = np.deg2rad(np.arange(-60, 61, 15))  # between normal and line of sight
DIRECTIONS: Final = 45
SKEW_WEIGHT: Final = 3.0  # cost of complete asymmetry, in areas of the smallest rectangle

Move = Callable[[np.ndarray], np.ndarray]


class NoDepthError(ValueError):
    """Too little of a target has depth; the error says how much."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Box:
    """A box in the optical frame (x right, y down, z ahead).

    Attributes:
        center: (3,) m.
        size: (3,) m along its own axes; length, width and height if it stands on a plane.
        rotation: (x, y, z, w) unit quaternion from its own axes to the optical frame.
    """

    center: np.ndarray
    size: np.ndarray
    rotation: np.ndarray


def fit_box(depth: np.ndarray, pinhole: Pinhole, mask: np.ndarray) -> Box:
    """Fit a box to a target, including the part that the camera cannot see.

    If a plane surrounds the target, the box stands upright on it. Length and width come from the
    rectangle around the points, including `hidden_points`, as seen from above. The bottom is the
    plane, or the lowest point if a gap shows that the target floats. Without a plane, the box lies
    along the principal axes of the visible points.

    Flying pixels are dropped (see `denoise_depth`), and 0.2 % of the points may lie beyond each
    side of the footprint, above the top and below the lowest point.

    Args:
        depth: (h, w) m along the optical axis, NaN without depth.
        pinhole: The camera, at any resolution.
        mask: (H, W) bool, the target, with the same field of view.

    Raises:
        NoDepthError: Fewer than 20 pixels have reliable depth, at the coarser resolution.
        FieldOfViewError: Depth or camera differ from the mask in aspect ratio.
    """
    check_same_view(depth.shape, mask.shape, 'the depth image')
    if depth.shape[0] < mask.shape[0]:
        mask = mask[np.ix_(*nearest(depth.shape, mask.shape))]
    pixels = int(mask.sum())
    view = TargetView.from_depth(depth, pinhole, mask) if pixels else None
    points = view.target() if view is not None else np.empty((0, 3))
    if view is None or len(points) < MIN_POINTS:
        raise NoDepthError(
            f'{len(points)} of {pixels} pixels have depth; check that depth is '
            f'registered to the image and that the target is within its range'
        )
    plane = support_plane(view)
    return _principal_axes_box(points) if plane is None else _standing_box(view, points, plane)


def _standing_box(view: TargetView, points: np.ndarray, plane: Plane) -> Box:
    up = plane.normal
    axes = _across(up)
    seen = np.concatenate([points, hidden_points(view, points, up)])
    footprint = fit_rectangle(seen @ axes.T, OUTLIERS)
    pixel = float(np.median(points[:, 2])) / view.pinhole.fx
    bottom, top = _rise(plane.heights(points), pixel, _elevation(points, up))
    center = footprint.center @ axes + (plane.offset + (bottom + top) / 2) * up
    c, s = np.cos(footprint.angle), np.sin(footprint.angle)
    x, y = np.array([[c, s], [-s, c]]) @ axes
    return Box(
        center=center,
        size=np.append(footprint.size + pixel, top - bottom),
        rotation=from_matrix(np.stack([x, y, up], axis=1)),
    )


def _rise(heights: np.ndarray, pixel: float, elevation: float) -> tuple[float, float]:
    """Return the heights of bottom and top of a target above its plane, m.

    The target stands on the plane unless the visible gap is larger than the one below a ball.
    """
    low, high = np.quantile(heights, (OUTLIERS, 1 - OUTLIERS))
    level = np.cos(elevation)
    hidden = FLOATING * (1 - level) / (1 + level) * (high - low)
    return low if low > MIN_GAP + hidden else 0.0, max(high + pixel / 2, 1e-3)


def _elevation(points: np.ndarray, up: np.ndarray) -> float:
    """Return the angle at which the camera looks down at points (n, 3), rad."""
    middle = points.mean(0)
    return float(np.arcsin(np.clip(-(middle @ up) / np.linalg.norm(middle), 0, 1)))


def _across(up: np.ndarray) -> np.ndarray:
    """Return (2, 3) unit vectors x, y so that x, y, up is a right-handed frame."""
    other = np.eye(3)[int(np.abs(up).argmin())]
    x = np.cross(up, other)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(up, x)])


def _principal_axes_box(points: np.ndarray) -> Box:
    """Return the box along the principal axes of points (n, 3), longest side first."""
    _, vectors = np.linalg.eigh(np.cov(points.T))
    axes = vectors[:, ::-1].copy()
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    low, high = np.quantile(points @ axes, (OUTLIERS, 1 - OUTLIERS), axis=0)
    return Box(center=axes @ (low + high) / 2, size=high - low, rotation=from_matrix(axes))


def hidden_points(view: TargetView, points: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Estimate the hidden points of a target from its symmetry.

    Half turns about an upright axis are tried first, then upright mirrors. The best symmetry moves
    the most points onto visible points, and the fewest into space that is visibly empty.

    Args:
        view: The target and its surroundings.
        points: (n, 3) visible points of the target, m in the optical frame.
        up: (3,) unit vector.

    Returns:
        (m, 3) m in the optical frame, the moved points that the target itself hides; empty if every
        symmetry moves 10 % of the points or more into empty space.
    """
    sample = points[np.random.default_rng(0).permutation(len(points))[:SAMPLE]]
    axes = _horizontal_axes(points, up)
    for symmetry in (_best_half_turn, _best_mirror):
        move = symmetry(view, sample, axes)
        if (_behind(view, move(sample))[0] < -TOLERANCE).mean() < MAX_CONTRADICTED:
            moved = move(points)
            behind, own = _behind(view, moved)
            return moved[own & (behind > TOLERANCE)]
    return points[:0]


def _best_half_turn(view: TargetView, sample: np.ndarray, axes: np.ndarray) -> Move:
    flat = sample @ axes.T
    center, reach = (flat.min(0) + flat.max(0)) / 2, np.ptp(flat, axis=0)
    for shrink, steps in ((1.0, 15), (0.16, 9)):
        grid = np.stack(
            np.meshgrid(np.linspace(-0.25, 0.25, 9), np.linspace(-0.5, 0.5, steps), indexing='ij'),
            -1,
        ).reshape(-1, 2)
        centers = center + shrink * reach * grid
        center = centers[_best(view, sample, [_half_turn(axes, each) for each in centers])]
    return _half_turn(axes, center)


def _best_mirror(view: TargetView, sample: np.ndarray, axes: np.ndarray) -> Move:
    moves = []
    for angle in MIRROR_ANGLES:
        normal = np.cos(angle) * axes[1] + np.sin(angle) * axes[0]
        along = sample @ normal
        steps = np.linspace(np.quantile(along, 0.25), along.max(), 30)
        mirrors = [_mirror(normal, each) for each in steps]
        moves.append(mirrors[_best(view, sample, mirrors)])
    return moves[_best(view, sample, moves, hidden=0.7)]


def _best(view: TargetView, sample: np.ndarray, moves: list[Move], hidden: float = 0.0) -> int:
    return int(np.argmax([_score(_behind(view, move(sample))[0], hidden) for move in moves]))


def _mirror(normal: np.ndarray, at: float) -> Move:
    return lambda points: points + 2 * (at - points @ normal)[:, None] * normal


def _half_turn(axes: np.ndarray, at: np.ndarray) -> Move:
    return lambda points: points + 2 * (at - points @ axes.T) @ axes


def _horizontal_axes(points: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return (2, 3): unit vectors across and along the line of sight."""
    ahead = points.mean(0)
    ahead = ahead - (ahead @ up) * up
    ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
    return np.stack([np.cross(ahead, up), ahead])


def _behind(view: TargetView, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far points (n, 3) lie behind what is visible, m, and whether that is the target.

    Points in front of the background get -1 m, because the camera would see them.
    """
    at = np.rint(view.pinhole.project(points)).astype(int)
    height, width = view.mask.shape
    inside = ((at >= 0) & (at < [width, height])).all(1)
    column, row = np.where(inside[:, None], at, 0).T
    behind = points[:, 2] - view.points[row, column, 2]
    behind[~np.isfinite(behind)] = 1.0
    own = view.mask[row, column] & inside
    return np.where(own | (inside & (behind > TOLERANCE)), behind, -1.0), own


def _score(behind: np.ndarray, hidden: float) -> float:
    return float(
        (np.abs(behind) < TOLERANCE).mean()
        + hidden * (behind > TOLERANCE).mean()
        - 2 * (behind < -TOLERANCE).mean()
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Rectangle:
    """A rectangle.

    Attributes:
        center: (2,).
        size: (2,), the longer side first.
        angle: Direction of the longer side, rad.
    """

    center: np.ndarray
    size: np.ndarray
    angle: float


def fit_rectangle(points: np.ndarray, share: float) -> Rectangle:
    """Fit a rectangle that is small and aligned with the symmetry of the points.

    Minimising only the area would skew it around a round object with a handle.

    Args:
        points: (n, 2), at least two.
        share: Share of the points that may lie beyond each side.
    """
    angles = np.arange(DIRECTIONS) * np.pi / 2 / DIRECTIONS
    low, high = _extents(points, angles, share)
    size, middle = high - low, (high + low) / 2
    area = np.maximum(np.prod(size, axis=0), 1e-9)
    skew = [_skew(low, high, angles, best) for best in range(DIRECTIONS)]
    best = int(np.argmin(area / area.min() + SKEW_WEIGHT * np.array(skew)))
    c, s = np.cos(angles[best]), np.sin(angles[best])
    flip = bool(size[1, best] > size[0, best])
    return Rectangle(
        center=np.array([[c, -s], [s, c]]) @ middle[:, best],
        size=size[::-1, best] if flip else size[:, best],
        angle=float(angles[best] + (np.pi / 2 if flip else 0.0)),
    )


def _extents(points: np.ndarray, angles: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and largest coordinate along and across each angle, both (2, n)."""
    c, s = np.cos(angles), np.sin(angles)
    own = np.stack([points @ np.stack([c, s]), points @ np.stack([-s, c])])
    first, last = (skip := int(share * len(points))), len(points) - 1 - skip
    ordered = np.partition(own, (first, last), axis=1)
    return ordered[:, first], ordered[:, last]


def _skew(low: np.ndarray, high: np.ndarray, angles: np.ndarray, at: int) -> float:
    """Return the asymmetry of the outline about the better axis of a rectangle, from 0 to 1."""
    reach = np.concatenate([high[0], high[1], -low[0], -low[1]])
    turned = np.concatenate([angles + quarter * np.pi / 2 for quarter in range(4)])
    own = (high + low)[:, at] / 2
    c, s = np.cos(turned - angles[at]), np.sin(turned - angles[at])
    reach = np.roll(reach - c * own[0] - s * own[1], -at)
    count = len(reach)
    other = np.arange(count)
    off = [np.abs(reach - reach[(axis - other) % count]).mean() for axis in (0, count // 2)]
    return float(min(off) / max(reach.mean(), 1e-9))
