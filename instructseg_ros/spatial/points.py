"""Deprojects depth pixels to points in space."""

from __future__ import annotations

import numpy as np

from instructseg_ros.spatial.depth import check_same_view, nearest
from instructseg_ros.spatial.pinhole import Pinhole

Window = tuple[slice, slice]


def bounding_window(mask: np.ndarray, margin: int = 0) -> Window:
    """Return the rows and columns around a mask (H, W) with at least one pixel, plus a margin."""
    return tuple(  # type: ignore[return-value]
        slice(max(0, int(there[0]) - margin), int(there[-1]) + 1 + margin)
        for there in (np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0)))
    )


def deproject_window(
    window: Window, depth: np.ndarray, pinhole: Pinhole, shape: tuple[int, ...]
) -> np.ndarray:
    """Return the points of the pixels in a window of an image.

    Args:
        window: Rows and columns of the image.
        depth: (h, w) m, NaN without depth, at any resolution (nearest pixel).
        pinhole: The camera, at any resolution.
        shape: (H, W) of the image.

    Returns:
        (rows, columns, 3) float32, m in the optical frame; NaN without depth, and for pixels that
        no ray reaches through the lens.

    Raises:
        FieldOfViewError: Depth or camera differ from the image in aspect ratio.
    """
    check_same_view(depth.shape, shape, 'the depth image')
    camera = pinhole.scaled(shape[1], shape[0])
    rows, columns = nearest(shape, depth.shape)
    z = depth[np.ix_(rows[window[0]], columns[window[1]])].astype(np.float32)
    x, y = camera.rays(*window)
    z = np.where(np.isnan(x), np.float32(np.nan), z)
    return np.stack([z * x, z * y, z], axis=-1)


def deproject(depth: np.ndarray, pinhole: Pinhole, mask: np.ndarray) -> np.ndarray:
    """Return the points of the pixels in a mask.

    Args:
        depth: (h, w) m along the optical axis, NaN without depth, of the same field of view as the
            mask at any resolution (nearest pixel).
        pinhole: The camera, at any resolution.
        mask: (H, W) bool.

    Returns:
        (H, W, 3) float32, m in the optical frame (x right, y down, z ahead); NaN outside the mask
        and without depth.

    Raises:
        FieldOfViewError: Depth or camera differ from the mask in aspect ratio.
    """
    points = np.full((*mask.shape, 3), np.nan, np.float32)
    if mask.any():
        window = bounding_window(mask)
        inside = mask[window]
        points[window][inside] = deproject_window(window, depth, pinhole, mask.shape)[inside]
    return points
