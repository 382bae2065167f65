"""Which pixel of one image shows the same as a pixel of another of the same field of view."""

from __future__ import annotations

import numpy as np


class FieldOfViewError(ValueError):
    """Two images cannot show the same; the message names both and the remedy."""


def check_same_view(shape: tuple[int, ...], image: tuple[int, ...], name: str) -> None:
    """Refuse a size of another aspect ratio than the image's, beyond the rounding of a pixel.

    Args:
        shape: (h, w) of what belongs to the image.
        image: (H, W).
        name: Owner of the shape, in words.

    Raises:
        FieldOfViewError: The aspect ratios differ.
    """
    (height, width), (rows, columns) = shape[:2], image[:2]
    # One side of the coarser may be rounded to the next pixel.
    if abs(width * rows - height * columns) > max(width, height, columns, rows):
        raise FieldOfViewError(
            f'{name} is for {width} x {height} pixels and the image has {columns} x {rows}: they '
            f'differ in aspect ratio, so that pixels of both do not show the same; publish it for '
            f'this image (depth: registered to it)')


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
