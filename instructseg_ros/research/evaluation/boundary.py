"""Boundary accuracy F of masks, as DAVIS and ReVOS measure it.

A boundary pixel is matched where the other mask's boundary, dilated by a disk, covers it. The disk
has about a thousand pixels at 1080p, so masks are held as bits, 64 columns a word: one operation
moves 64 pixels, and the result is exact. Words are laid out (columns / 64, rows), which keeps
shifts along both axes contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

from instructseg_ros.research.evaluation.overlap import intersection_over_union

_TOLERANCE: Final = 0.008  # of the diagonal, as in DAVIS
_WORD: Final = 64
_ONE: Final = np.uint64(1)  # numpy 1 makes floats of a word and a Python integer
_LAST: Final = np.uint64(_WORD - 1)


def boundary_accuracy(mask: np.ndarray, truth: np.ndarray) -> float:
    """F-measure of the boundaries of two (H, W) bool masks, 0 to 1.

    It equals `db_eval_boundary` of the DAVIS benchmark (Perazzi et al., CVPR 2016): precision is
    the part of the mask's boundary within a radius of the truth's, recall the reverse, and the
    radius is 0.008 of the diagonal, rounded up to pixels. The frame's own edge is no boundary: a
    full mask has none, like an empty one. F is 1 where both masks have none, 0 where one has.
    Pixels that do not count (void) are to be False in both masks.

    Raises:
        ValueError: the masks differ in size.
    """
    if mask.shape != truth.shape:
        raise ValueError(f'a mask of {mask.shape} has a truth of {truth.shape}: resize the mask')
    boundary, true_boundary = _cropped(_boundary(mask), _boundary(truth))
    size, true_size = _count(boundary), _count(true_boundary)
    if not (size and true_size):
        return float(size == true_size)
    radius = math.ceil(_TOLERANCE * math.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2))
    precision = _count(boundary & _dilated(true_boundary, radius)) / size
    recall = _count(true_boundary & _dilated(boundary, radius)) / true_size
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def region_and_boundary(
    masks: Iterable[np.ndarray], truths: Iterable[np.ndarray]
) -> tuple[float, float]:
    """(J, F) of one object in a video: its mean IoU and mean boundary accuracy over the frames.

    Args:
        masks, truths: one (H, W) bool mask a frame.

    Raises:
        ValueError: there are no frames, or not as many masks as truths.
    """
    region, boundary = region_and_boundary_of_frames(masks, truths).mean(axis=1).tolist()
    return region, boundary


def region_and_boundary_of_frames(
    masks: Iterable[np.ndarray], truths: Iterable[np.ndarray]
) -> np.ndarray:
    """(2, frames) J and F of one object in each frame of a video; see `region_and_boundary`."""
    frames = [
        (intersection_over_union(mask, truth), boundary_accuracy(mask, truth))
        for mask, truth in zip(masks, truths, strict=True)
    ]
    if not frames:
        raise ValueError('a video without frames has no J and F: give at least one mask')
    return np.array(frames).T


def _boundary(mask: np.ndarray) -> np.ndarray:
    """Words of the pixels that differ from their right, lower or lower right neighbour."""
    words = _packed(mask)
    right = _one_left(words)
    edge = words ^ right
    edge[:, :-1] |= words[:, :-1] ^ right[:, 1:]
    # Beyond the last column there is nothing to differ from.
    edge &= _packed(np.arange(mask.shape[1])[None] < mask.shape[1] - 1)
    edge[:, :-1] |= words[:, :-1] ^ words[:, 1:]
    return edge


def _cropped(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Crop both to the words that hold a pixel of either: no other can match."""
    either = first | second
    box = tuple(_extent(either.any(axis)) for axis in (1, 0))
    return first[box], second[box]


def _extent(used: np.ndarray) -> slice:
    """Find the slice from the first to the last True; empty where there is none."""
    places = np.flatnonzero(used)
    return slice(places[0], places[-1] + 1) if len(places) else slice(0)


def _dilated(words: np.ndarray, radius: int) -> np.ndarray:
    """Dilate by the pixels of a disk, x² + y² ≤ radius²; bits right of the frame are arbitrary."""
    rows = words.shape[1]
    spread, reach = words, 0
    dilated = np.zeros_like(words)
    # The disk is a span for each of its rows, narrow ones first: each widens the one before.
    for offset in range(radius, -1, -1):
        span = math.isqrt(radius**2 - offset**2)
        for _ in range(reach, span):
            spread = _widened(spread)
        reach = span
        if offset < rows:
            dilated[:, offset:] |= spread[:, : rows - offset]
            dilated[:, : rows - offset] |= spread[:, offset:]
    return dilated


def _widened(words: np.ndarray) -> np.ndarray:
    """Set the pixels left and right of those that are set."""
    wide = _one_left(words)
    wide |= words
    wide |= words << _ONE
    wide[1:] |= words[:-1] >> _LAST
    return wide


def _one_left(words: np.ndarray) -> np.ndarray:
    """Move all pixels a column to the left."""
    moved = words >> _ONE
    moved[:-1] |= words[1:] << _LAST
    return moved


def _packed(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool mask to (ceil(W / 64), H) words; the leftmost column is the lowest bit."""
    octets = np.packbits(np.ascontiguousarray(mask), axis=1, bitorder='little')
    missing = -octets.shape[1] % (_WORD // 8)
    return np.ascontiguousarray(np.pad(octets, ((0, 0), (0, missing))).view('<u8').T)


def _count(words: np.ndarray) -> int:
    """Count the pixels that are set."""
    return int(np.count_nonzero(np.unpackbits(words.view(np.uint8)).view(bool)))
