"""Pixels and those around them."""

from __future__ import annotations

import numpy as np

SUPPORTERS = 3  # of a pixel's eight neighbours; a straight edge leaves it five, a corner three


def box_count(mask: np.ndarray, radius: int) -> np.ndarray:
    """Return (H, W) int how many pixels of a mask lie in the square around each pixel."""
    side = 2 * radius + 1
    padded = np.pad(mask.astype(np.int64), ((radius + 1, radius), (radius + 1, radius)))
    total = padded.cumsum(0).cumsum(1)
    return total[side:, side:] - total[:-side, side:] - total[side:, :-side] \
        + total[:-side, :-side]


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
        first = near[1 + row:1 + row + height, 1 + column:1 + column + width]
        second = near[1 - row:1 - row + height, 1 - column:1 - column + width]
        a, b = np.abs(first - here) <= limit, np.abs(second - here) <= limit
        count += a.astype(int) + b
        both = a & b
        total[both] += first[both] + second[both]
        weight[both] += 2
    return np.where(count >= SUPPORTERS, total / weight, np.nan)
