"""Accuracy of masks: region overlap (IoU, cIoU, gIoU, J) and boundary accuracy (F)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

_THRESHOLDS: Final = (0.5, 0.6, 0.7, 0.8, 0.9)
_EPSILON: Final = 1e-5
_TOLERANCE: Final = 0.008  # share of the diagonal, as in DAVIS
_WORD: Final = 64
_ONE: Final = np.uint64(1)  # numpy 1 promotes uint64 with a Python integer to float
_LAST: Final = np.uint64(_WORD - 1)


def mean(values: Sequence[float]) -> float:
    """Return the mean of some values; 0 without values."""
    return float(np.mean(values)) if values else 0.0


def intersection_over_union(mask: np.ndarray, truth: np.ndarray) -> float:
    """Compute the IoU of two (H, W) bool masks; 1 if both are empty."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


class Overlap:
    """Sums intersections and unions over the masks of a benchmark."""

    def __init__(self, epsilon: float = _EPSILON) -> None:
        """Start without masks.

        Args:
            epsilon: Pixels added to the union of each mask, as the authors' evaluation does.
        """
        self._epsilon = epsilon
        self._shared = 0
        self._either = 0
        self.overlaps: list[float] = []

    def add(self, mask: np.ndarray, truth: np.ndarray, counted: np.ndarray | None = None) -> float:
        """Add a mask and return its IoU.

        Args:
            mask: (H, W) bool prediction.
            truth: (H, W) bool target.
            counted: (H, W) bool, the pixels that count; None: all.
        """
        if counted is not None:
            mask, truth = mask & counted, truth & counted
        shared, either = int((mask & truth).sum()), int((mask | truth).sum())
        self._shared += shared
        self._either += either
        self.overlaps.append(shared / (either + self._epsilon) if either else 1.0)
        return self.overlaps[-1]

    @property
    def cumulative(self) -> float:
        """The cIoU: total intersection / total union; 1 if all masks are empty, 0 without masks."""
        return self._shared / self._either if self._either else float(bool(self.overlaps))

    def figures(self) -> dict[str, float]:
        """Return cIoU, gIoU (mean IoU) and precisions, 0 to 1, and `n`, the number of masks."""
        overlaps = np.array(self.overlaps)
        figures = {
            'cIoU': self.cumulative,
            'gIoU': float(overlaps.mean()) if len(overlaps) else 0.0,
            'n': len(overlaps),
        }
        for threshold in _THRESHOLDS:
            above = float((overlaps > threshold).mean()) if len(overlaps) else 0.0
            figures[f'P@{threshold}'] = above
        return figures


def boundary_accuracy(mask: np.ndarray, truth: np.ndarray) -> float:
    """Compute the F-measure of the boundaries of two (H, W) bool masks, 0 to 1.

    The result equals that of `db_eval_boundary` in the DAVIS benchmark (Perazzi et al., CVPR 2016).
    Precision is the share of the mask's boundary that lies within a radius of the true boundary,
    and recall is the reverse. The radius is 0.008 of the diagonal, rounded up to pixels. The edge
    of the frame is no boundary, so a full mask has none, like an empty one. F is 1 if neither mask
    has a boundary, 0 if only one has. Pixels that do not count (void) must be False in both masks.

    A boundary pixel matches if the other boundary, dilated by a disk, covers it. The disk has about
    a thousand pixels at 1080p, so one operation moves 64 columns, packed in a word: this is 13
    times as fast as OpenCV's dilation, and exact. Words are laid out (columns / 64, rows), which
    keeps shifts along both axes contiguous.

    Raises:
        ValueError: The masks differ in size.
    """
    if mask.shape != truth.shape:
        raise ValueError(
            f'the mask has the size {mask.shape} and the true mask {truth.shape}: resize the mask'
        )
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
    """Compute (J, F) of an object in a video: mean IoU and mean boundary accuracy of its frames.

    Args:
        masks: One (H, W) bool prediction per frame.
        truths: One (H, W) bool target per frame.

    Raises:
        ValueError: There are no frames, or the numbers of masks and targets differ.
    """
    region, boundary = region_and_boundary_of_frames(masks, truths).mean(axis=1).tolist()
    return region, boundary


def region_and_boundary_of_frames(
    masks: Iterable[np.ndarray], truths: Iterable[np.ndarray]
) -> np.ndarray:
    """Compute (2, frames) J and F of an object in each frame; see `region_and_boundary`."""
    frames = [
        (intersection_over_union(mask, truth), boundary_accuracy(mask, truth))
        for mask, truth in zip(masks, truths, strict=True)
    ]
    if not frames:
        raise ValueError('J and F of a video need at least one frame: pass at least one mask')
    return np.array(frames).T


def _boundary(mask: np.ndarray) -> np.ndarray:
    """Mark pixels that differ from their right, lower or lower right neighbour; packed in words."""
    words = _packed(mask)
    right = _one_left(words)
    edge = words ^ right
    edge[:, :-1] |= words[:, :-1] ^ right[:, 1:]
    # The last column has no right neighbour.
    edge &= _packed(np.arange(mask.shape[1])[None] < mask.shape[1] - 1)
    edge[:, :-1] |= words[:, :-1] ^ words[:, 1:]
    return edge


def _cropped(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Crop both to the box of words that holds all set pixels of either."""
    either = first | second
    box = tuple(_extent(either.any(axis)) for axis in (1, 0))
    return first[box], second[box]


def _extent(used: np.ndarray) -> slice:
    """Return the slice from the first to the last True; an empty slice if there is none."""
    places = np.flatnonzero(used)
    return slice(places[0], places[-1] + 1) if len(places) else slice(0)


def _dilated(words: np.ndarray, radius: int) -> np.ndarray:
    """Dilate by a disk, x² + y² ≤ radius²; bits beyond the frame's right edge are arbitrary."""
    rows = words.shape[1]
    spread, reach = words, 0
    dilated = np.zeros_like(words)
    # Each row of the disk is one span. From narrow to wide, each span extends the previous one.
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
    """Also set the left and right neighbours of all set pixels."""
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
    """Pack a (H, W) bool mask in (ceil(W / 64), H) words; the lowest bit is the leftmost column."""
    octets = np.packbits(np.ascontiguousarray(mask), axis=1, bitorder='little')
    missing = -octets.shape[1] % (_WORD // 8)
    return np.ascontiguousarray(np.pad(octets, ((0, 0), (0, missing))).view('<u8').T)


def _count(words: np.ndarray) -> int:
    """Count the set pixels."""
    return int(np.count_nonzero(np.unpackbits(words.view(np.uint8)).view(bool)))
