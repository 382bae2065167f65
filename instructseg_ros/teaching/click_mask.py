"""The mask of the object at a clicked pixel, found by color and edges alone."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from instructseg_ros.research.evaluation.metrics import intersection_over_union
from instructseg_ros.spatial.plane import dilate

# Half sides of the windows around a click, as shares of the image's longer side.
CLICK_RADII: Final = (0.044, 0.07, 0.11, 0.17)


def click_mask(rgb: np.ndarray, row: int, column: int) -> np.ndarray:
    """Find the object at a clicked pixel, by GrabCut in windows of several sizes around it.

    The mask wins that has a strong edge and that windows of other sizes agree with.

    Args:
        rgb: (H, W, 3) uint8.
        row: Row of the click.
        column: Column of the click.

    Returns:
        (H, W) bool, one connected region with the clicked pixel.

    Raises:
        ValueError: The click is outside of the image.
    """
    import cv2

    if not (0 <= row < rgb.shape[0] and 0 <= column < rgb.shape[1]):
        raise ValueError(
            f'row {row} and column {column} are outside of an image of {rgb.shape[0]} x '
            f'{rgb.shape[1]} pixels: click inside'
        )
    lab = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2LAB)
    edges = cv2.morphologyEx(lab, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    strength = np.minimum(np.linalg.norm(edges.astype(np.float32), axis=-1), 40)
    radii = [max(6, round(share * max(rgb.shape))) for share in CLICK_RADII]
    masks, scores = [], []
    for radius in radii:
        mask, touching = _grow(rgb, row, column, radius)
        outline = mask & dilate(~mask, 1)
        score = strength[outline].mean() if outline.any() else 0.0
        score += 2 * np.log(max(1, mask.sum())) - 40 * touching / max(1, outline.sum())
        masks.append(mask)
        scores.append(score)
    for i, mask in enumerate(masks):
        others = sorted(
            intersection_over_union(mask, other) for j, other in enumerate(masks) if j != i
        )
        scores[i] += 20 * float(np.mean(others[-2:]))
    return masks[int(np.argmax(scores))]


def _grow(rgb: np.ndarray, row: int, column: int, radius: int) -> tuple[np.ndarray, int]:
    """Return the (H, W) region around a click, and the number of its pixels at the radius."""
    import cv2

    mask = np.zeros(rgb.shape[:2], bool)
    window = tuple(slice(max(0, at - radius), at + radius + 1) for at in (row, column))
    rows, columns = np.ogrid[: rgb.shape[0], : rgb.shape[1]]
    distance = np.hypot(rows - row, columns - column)[window]
    trimap = np.full(distance.shape, cv2.GC_PR_BGD, np.uint8)
    trimap[distance < 0.75 * radius] = cv2.GC_PR_FGD
    trimap[distance > 0.9 * radius] = cv2.GC_BGD
    trimap[distance <= 3 * pixel_scale(mask)] = cv2.GC_FGD
    labels = cv2.connectedComponents(grab_cut(rgb[window], trimap).astype(np.uint8))[1]
    mask[window] = labels == labels[distance == 0]
    return mask, int((mask[window] & (distance > 0.86 * radius)).sum())


def grab_cut(rgb: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """Divide an image into object and background (Rother et al., SIGGRAPH 2004).

    Args:
        rgb: (h, w, 3) uint8.
        trimap: (h, w) uint8 of OpenCV's `GC_` values.

    Returns:
        (h, w) bool, the object.
    """
    import cv2

    if not ((trimap & 1).any() and (trimap & 1 == 0).any()):
        return np.zeros(trimap.shape, bool)
    cv2.setRNGSeed(0)
    rect: Any = None  # the trimap replaces it
    models = np.zeros((1, 65)), np.zeros((1, 65))
    image = np.ascontiguousarray(rgb)
    cut = cv2.grabCut(image, trimap, rect, *models, 3, cv2.GC_INIT_WITH_MASK)[0]
    return (np.asarray(cut) & 1) > 0


def pixel_scale(mask: np.ndarray) -> int:
    """Return the size of a pixel of an image 640 pixels wide, in pixels."""
    return max(1, round(max(mask.shape) / 640))
