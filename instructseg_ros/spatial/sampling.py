"""Which pixel of one image shows the same as a pixel of another of the same field of view."""

from __future__ import annotations

import numpy as np


def nearest(shape: tuple[int, ...], source: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of a source image for each row of an image, and the same for columns.

    Args:
        shape: (H, W) of the image.
        source: (h, w) of the source.

    Returns:
        (H,) rows and (W,) columns of the source, int64.
    """
    rows, columns = (((2 * np.arange(wanted) + 1) * there) // (2 * wanted)
                     for wanted, there in zip(shape[:2], source[:2], strict=True))
    return rows, columns
