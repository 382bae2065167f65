"""How much of a picture changed."""

from __future__ import annotations

from typing import Final

import numpy as np

COLUMNS: Final = 64
CLEAR: Final = 24  # of 255, above a camera's noise


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> its pixels on a coarse grid, (h, w, 3) int16."""
    step = max(1, image.shape[1] // COLUMNS)
    row = min(step, image.shape[0]) // 2
    return image[row::step, step // 2 :: step].astype(np.int16)


def changed_share(first: np.ndarray, second: np.ndarray) -> float:
    """Share of two thumbnails' pixels that differ clearly, 0..1; 1 for different sizes."""
    if first.shape != second.shape:
        return 1.0
    return float((np.abs(first - second).max(axis=2) > CLEAR).mean())
