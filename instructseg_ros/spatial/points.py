"""Points in space from depth."""

from __future__ import annotations

import numpy as np

from instructseg_ros.spatial.depth import check_same_view, nearest
from instructseg_ros.spatial.pinhole import Pinhole

Window = tuple[slice, slice]


def window_of(mask: np.ndarray, margin: int = 0) -> Window:
    """Return rows and columns of the box around a mask (H, W) that has a pixel, and a margin."""
    return tuple(  # type: ignore[return-value]
        slice(max(0, int(there[0]) - margin), int(there[-1]) + 1 + margin)
        for there in (np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0)))
    )


def points_in(
    window: Window, depth: np.ndarray, pinhole: Pinhole, shape: tuple[int, ...]
) -> np.ndarray:
    """Return the points that the pixels of a window of an image see.

    Args:
        window: Rows and columns of the image.
        depth: (h, w) m, NaN without; of another resolution, its nearest pixels count.
        pinhole: The camera, of any resolution.
        shape: (H, W) of the image.

    Returns:
        (rows, columns, 3) float32, m in the optical frame; NaN without depth, and where the lens
        shows nothing.

    Raises:
        FieldOfViewError: Depth or camera are of another aspect ratio than the image.
    """
    check_same_view(depth.shape, shape, 'the depth image')
    camera = pinhole.scaled(shape[1], shape[0])
    rows, columns = nearest(shape, depth.shape)
    z = depth[np.ix_(rows[window[0]], columns[window[1]])].astype(np.float32)
    x, y = camera.rays(*window)
    z = np.where(np.isnan(x), np.float32(np.nan), z)
    return np.stack([z * x, z * y, z], axis=-1)


def deproject(depth: np.ndarray, pinhole: Pinhole, mask: np.ndarray) -> np.ndarray:
    """Return the points that the pixels of a mask see.

    Args:
        depth: (h, w) m along the optical axis, NaN without; of another resolution than the mask,
            but of the same field of view, its nearest pixels count.
        pinhole: The camera, of any resolution.
        mask: (H, W) bool.

    Returns:
        (H, W, 3) float32, m in the optical frame (x right, y down, z ahead); NaN outside the mask
        and without depth.

    Raises:
        FieldOfViewError: As `points_in`.
    """
    points = np.full((*mask.shape, 3), np.nan, np.float32)
    if mask.any():
        window = window_of(mask)
        inside = mask[window]
        points[window][inside] = points_in(window, depth, pinhole, mask.shape)[inside]
    return points
