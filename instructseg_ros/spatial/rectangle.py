"""The rectangle around points of a plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

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
    return Rectangle(center=np.array([[c, -s], [s, c]]) @ middle[:, best],
                     size=size[::-1, best] if flip else size[:, best],
                     angle=float(angles[best] + (np.pi / 2 if flip else 0.0)))


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
