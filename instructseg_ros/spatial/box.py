"""Fits an upright 3-D box to the points of a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from instructseg_ros.spatial.depth import check_same_view, nearest
from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.spatial.plane import Plane, View, support_plane
from instructseg_ros.spatial.quaternions import from_matrix

TOLERANCE: Final = 0.004  # m in depth, within which two surfaces are one
SAMPLE: Final = 300  # points that a symmetry is judged by
CONTRADICTED: Final = 0.1  # share of the moved points that may lie where nothing is
MIRRORS: Final = np.deg2rad(np.arange(-60, 61, 15))  # of their normals, to the line of sight

Move = Callable[[np.ndarray], np.ndarray]


def hidden_points(view: View, points: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return the points that a symmetric thing has behind those that are seen.

    A half turn about an upright axis is tried, then upright mirrors. The best takes most points
    onto points that are seen and fewest to where the camera sees that nothing is. Of the points
    that it moves those are returned that the target itself hides; none if 10 % of the points or
    more contradict all symmetries.

    Args:
        view: The target and its surroundings.
        points: (n, 3) of the target, m in the optical frame.
        up: (3,) unit vector.

    Returns:
        (m, 3) m in the optical frame.
    """
    sample = points[np.random.default_rng(0).permutation(len(points))[:SAMPLE]]
    axes = _horizontal_axes(points, up)
    for symmetry in (_best_half_turn, _best_mirror):
        move = symmetry(view, sample, axes)
        if (_behind(view, move(sample))[0] < -TOLERANCE).mean() < CONTRADICTED:
            moved = move(points)
            behind, own = _behind(view, moved)
            return moved[own & (behind > TOLERANCE)]
    return points[:0]


def _best_half_turn(view: View, sample: np.ndarray, axes: np.ndarray) -> Move:
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


def _best_mirror(view: View, sample: np.ndarray, axes: np.ndarray) -> Move:
    moves = []
    for angle in MIRRORS:
        normal = np.cos(angle) * axes[1] + np.sin(angle) * axes[0]
        along = sample @ normal
        steps = np.linspace(np.quantile(along, 0.25), along.max(), 30)
        mirrors = [_mirror(normal, each) for each in steps]
        moves.append(mirrors[_best(view, sample, mirrors)])
    return moves[_best(view, sample, moves, hidden=0.7)]


def _best(view: View, sample: np.ndarray, moves: list[Move], hidden: float = 0.0) -> int:
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


def _behind(view: View, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far points (n, 3) lie behind what is seen, m, and whether that is the target.

    Before the background is -1 m: the camera would see them.
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


STEPS: Final = 45  # directions that are tried
ASKEW: Final = 3.0  # areas that a wholly asymmetric rectangle is worth


@dataclass(frozen=True, kw_only=True, eq=False)
class Rectangle:
    """A rectangle.

    Attributes:
        center: (2,).
        size: (2,), the longer side first.
        angle: Of the longer side, rad.
    """

    center: np.ndarray
    size: np.ndarray
    angle: float


def around(points: np.ndarray, share: float) -> Rectangle:
    """Return the rectangle around points (n, 2) that is small and along their symmetry.

    The area alone would lay it askew around a round thing with a handle.

    Args:
        points: Two or more.
        share: Of the points that may lie beyond each side.
    """
    angles = np.arange(STEPS) * np.pi / 2 / STEPS
    low, high = _extents(points, angles, share)
    size, middle = high - low, (high + low) / 2
    area = np.maximum(np.prod(size, axis=0), 1e-9)
    skew = [_skew(low, high, angles, best) for best in range(STEPS)]
    best = int(np.argmin(area / area.min() + ASKEW * np.array(skew)))
    c, s = np.cos(angles[best]), np.sin(angles[best])
    flip = bool(size[1, best] > size[0, best])
    return Rectangle(
        center=np.array([[c, -s], [s, c]]) @ middle[:, best],
        size=size[::-1, best] if flip else size[:, best],
        angle=float(angles[best] + (np.pi / 2 if flip else 0.0)),
    )


def _extents(points: np.ndarray, angles: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest coordinate along and across each angle, both (2, n)."""
    c, s = np.cos(angles), np.sin(angles)
    own = np.stack([points @ np.stack([c, s]), points @ np.stack([-s, c])])
    first, last = (skip := int(share * len(points))), len(points) - 1 - skip
    ordered = np.partition(own, (first, last), axis=1)
    return ordered[:, first], ordered[:, last]


def _skew(low: np.ndarray, high: np.ndarray, angles: np.ndarray, at: int) -> float:
    """Return how far the outline is from mirrored about the better axis of a rectangle, 0..1."""
    reach = np.concatenate([high[0], high[1], -low[0], -low[1]])
    turned = np.concatenate([angles + quarter * np.pi / 2 for quarter in range(4)])
    own = (high + low)[:, at] / 2
    c, s = np.cos(turned - angles[at]), np.sin(turned - angles[at])
    reach = np.roll(reach - c * own[0] - s * own[1], -at)
    count = len(reach)
    other = np.arange(count)
    off = [np.abs(reach - reach[(axis - other) % count]).mean() for axis in (0, count // 2)]
    return float(min(off) / max(reach.mean(), 1e-9))


LEAST_POINTS: Final = 20
SHARE: Final = 0.002  # of the points that may lie beyond each side of a box
FLOATS: Final = 1.6  # times the gap below a ball that stands there, from which it floats


class NoDepthError(ValueError):
    """Too little of a target has depth; the message says how much."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Box:
    """A box in the optical frame (x right, y down, z ahead).

    Attributes:
        center: (3,) m.
        size: (3,) m along its own axes; where it stands on a plane: length, width and height.
        rotation: (x, y, z, w) unit quaternion that turns its axes into those of the optical frame.
    """

    center: np.ndarray
    size: np.ndarray
    rotation: np.ndarray


def fit_box(depth: np.ndarray, pinhole: Pinhole, mask: np.ndarray) -> Box:
    """Return the box around a target, with what the camera cannot see of it.

    Where a plane surrounds the target, its normal is taken for up and the box stands upright: from
    the plane, or where a gap below shows that the target floats, from its lowest point, up to its
    highest. Length and width are those of the rectangle around what is seen, seen from above, and
    around what a symmetry of the target puts behind it. Elsewhere the box lies along the principal
    axes of what is seen.

    Flying pixels are dropped (see `steadied`), and 0.2 % of the points may lie beyond each side
    of the footprint, above the top and below the lowest point.

    Args:
        depth: (h, w) m along the optical axis, NaN without.
        pinhole: The camera, of any resolution.
        mask: (H, W) bool, the target, of the same field of view.

    Raises:
        NoDepthError: Fewer than 20 pixels of the coarser of both have depth that is to be trusted.
        FieldOfViewError: Depth or camera are of another aspect ratio than the mask.
    """
    check_same_view(depth.shape, mask.shape, 'the depth image')
    if depth.shape[0] < mask.shape[0]:
        mask = mask[np.ix_(*nearest(depth.shape, mask.shape))]
    pixels = int(mask.sum())
    view = View.of(depth, pinhole, mask) if pixels else None
    points = view.target() if view is not None else np.empty((0, 3))
    if view is None or len(points) < LEAST_POINTS:
        raise NoDepthError(
            f'{len(points)} of {pixels} pixels have depth; check that depth is '
            f'registered to the image and that the target is within its range'
        )
    plane = support_plane(view)
    return _leaning_box(points) if plane is None else _standing_box(view, points, plane)


def _standing_box(view: View, points: np.ndarray, plane: Plane) -> Box:
    up = plane.normal
    axes = _across(up)
    seen = np.concatenate([points, hidden_points(view, points, up)])
    footprint = around(seen @ axes.T, SHARE)
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
    """Return bottom and top of a target above its plane, m.

    It stands on the plane unless the camera would see more of a gap than below a ball.
    """
    low, high = np.quantile(heights, (SHARE, 1 - SHARE))
    level = np.cos(elevation)
    hidden = FLOATS * (1 - level) / (1 + level) * (high - low)
    return low if low > 0.012 + hidden else 0.0, max(high + pixel / 2, 1e-3)


def _elevation(points: np.ndarray, up: np.ndarray) -> float:
    """Return how steeply the camera looks down at points (n, 3), rad."""
    middle = points.mean(0)
    return float(np.arcsin(np.clip(-(middle @ up) / np.linalg.norm(middle), 0, 1)))


def _across(up: np.ndarray) -> np.ndarray:
    """Return (2, 3) unit vectors x, y so that x, y, up is a right-handed frame."""
    other = np.eye(3)[int(np.abs(up).argmin())]
    x = np.cross(up, other)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(up, x)])


def _leaning_box(points: np.ndarray) -> Box:
    """Return the box along the principal axes of points (n, 3), longest side first."""
    _, vectors = np.linalg.eigh(np.cov(points.T))
    axes = vectors[:, ::-1].copy()
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    low, high = np.quantile(points @ axes, (SHARE, 1 - SHARE), axis=0)
    return Box(center=axes @ (low + high) / 2, size=high - low, rotation=from_matrix(axes))
