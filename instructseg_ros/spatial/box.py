"""The box around a target in space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from instructseg_ros.spatial import rectangle
from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.spatial.plane import Plane, support_plane
from instructseg_ros.spatial.rotations import to_quaternion
from instructseg_ros.spatial.sampling import check_same_view, nearest
from instructseg_ros.spatial.symmetry import hidden_points
from instructseg_ros.spatial.view import View

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
        raise NoDepthError(f'{len(points)} of {pixels} pixels have depth; check that depth is '
                           f'registered to the image and that the target is within its range')
    plane = support_plane(view)
    return _leaning_box(points) if plane is None else _standing_box(view, points, plane)


def _standing_box(view: View, points: np.ndarray, plane: Plane) -> Box:
    up = plane.normal
    axes = _across(up)
    seen = np.concatenate([points, hidden_points(view, points, up)])
    footprint = rectangle.around(seen @ axes.T, SHARE)
    pixel = float(np.median(points[:, 2])) / view.pinhole.fx
    bottom, top = _rise(plane.heights(points), pixel, _elevation(points, up))
    center = footprint.center @ axes + (plane.offset + (bottom + top) / 2) * up
    c, s = np.cos(footprint.angle), np.sin(footprint.angle)
    x, y = np.array([[c, s], [-s, c]]) @ axes
    return Box(center=center, size=np.append(footprint.size + pixel, top - bottom),
               rotation=to_quaternion(np.stack([x, y, up], axis=1)))


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
    return Box(center=axes @ (low + high) / 2, size=high - low, rotation=to_quaternion(axes))
