"""How fast the boundary measure of DAVIS and ReVOS is, beside a plain dilation of each frame."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from instructseg_ros.research.evaluation.metrics import boundary_accuracy

_SHAPE: Final = (1080, 1920)
_TOLERANCE: Final = 0.008
_MOVED: Final = (3, 5)  # pixels, by which a predicted mask is off

Pair = tuple[np.ndarray, np.ndarray]


def benchmark_boundary(frames: int) -> dict[str, float]:
    """Seconds of one core for a 1080p video.

    Returns:
        `seconds`, `plain_seconds` with OpenCV's dilation by a disk, their `ratio`, and
        `largest_difference` of the values.
    """
    import cv2

    cv2.setNumThreads(1)
    pairs = [_pair(np.random.default_rng(frame)) for frame in range(frames)]
    seconds, values = _timed(boundary_accuracy, pairs)
    plain_seconds, plain_values = _timed(_plain_accuracy, pairs)
    return {
        'frames': frames,
        'seconds': seconds,
        'plain_seconds': plain_seconds,
        'ratio': plain_seconds / seconds,
        'largest_difference': float(np.abs(values - plain_values).max()),
    }


def _timed(
    measure: Callable[[np.ndarray, np.ndarray], float], pairs: Sequence[Pair]
) -> tuple[float, np.ndarray]:
    start = time.process_time()
    values = np.array([measure(*pair) for pair in pairs])
    return time.process_time() - start, values


def _pair(rng: np.random.Generator) -> Pair:
    """A mask of some ellipses, and the same moved a little."""
    import cv2

    canvas = np.zeros(_SHAPE, np.uint8)
    for _ in range(6):
        centre = (int(rng.integers(300, 1600)), int(rng.integers(200, 900)))
        axes = (int(rng.integers(40, 300)), int(rng.integers(40, 250)))
        cv2.ellipse(canvas, centre, axes, float(rng.integers(180)), 0, 360, 1, -1)
    mask = canvas.astype(bool)
    return mask, np.roll(mask, _MOVED, axis=(0, 1))


def _plain_accuracy(mask: np.ndarray, truth: np.ndarray) -> float:
    import cv2

    radius = math.ceil(_TOLERANCE * math.hypot(*_SHAPE))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    edge, true_edge = _edge(mask), _edge(truth)
    precision = (edge & cv2.dilate(true_edge, disk)).sum() / edge.sum()
    recall = (true_edge & cv2.dilate(edge, disk)).sum() / true_edge.sum()
    return float(2 * precision * recall / (precision + recall))


def _edge(mask: np.ndarray) -> np.ndarray:
    beyond = np.pad(mask, (0, 1), mode='edge')
    right, below, corner = beyond[:-1, 1:], beyond[1:, :-1], beyond[1:, 1:]
    return ((mask != right) | (mask != below) | (mask != corner)).astype(np.uint8)
