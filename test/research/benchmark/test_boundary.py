"""Compares the boundary measure with a plain dilation of each frame by a disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import cv2
import numpy as np

from instructseg_ros.research.evaluation.metrics import boundary_accuracy

SHAPE = (1080, 1920)
TOLERANCE = 0.008
OFFSET = (3, 5)  # pixels between a predicted mask and the true one


def masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A mask of some ellipses, and the same mask a few pixels off."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros(SHAPE, np.uint8)
    for _ in range(6):
        centre = (int(rng.integers(300, 1600)), int(rng.integers(200, 900)))
        axes = (int(rng.integers(40, 300)), int(rng.integers(40, 250)))
        cv2.ellipse(canvas, centre, axes, float(rng.integers(180)), 0, 360, 1, -1)
    mask = canvas.astype(bool)
    return mask, np.roll(mask, OFFSET, axis=(0, 1))


def plain_accuracy(mask: np.ndarray, truth: np.ndarray) -> float:
    radius = math.ceil(TOLERANCE * math.hypot(*SHAPE))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    edge, true_edge = edge_of(mask), edge_of(truth)
    precision = (edge & cv2.dilate(true_edge, disk)).sum() / edge.sum()
    recall = (true_edge & cv2.dilate(edge, disk)).sum() / true_edge.sum()
    return float(2 * precision * recall / (precision + recall))


def edge_of(mask: np.ndarray) -> np.ndarray:
    beyond = np.pad(mask, (0, 1), mode='edge')
    right, below, corner = beyond[:-1, 1:], beyond[1:, :-1], beyond[1:, 1:]
    return ((mask != right) | (mask != below) | (mask != corner)).astype(np.uint8)


def timed(
    measure: Callable[[np.ndarray, np.ndarray], float], pairs: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[float, np.ndarray]:
    start = time.process_time()
    values = np.array([measure(*pair) for pair in pairs])
    return time.process_time() - start, values


def test_the_fast_measure_equals_a_plain_dilation_in_a_fraction_of_its_time() -> None:
    pairs = [masks(seed) for seed in range(3)]
    seconds, values = timed(boundary_accuracy, pairs)
    plain_seconds, plain_values = timed(plain_accuracy, pairs)
    assert np.abs(values - plain_values).max() < 1e-12
    assert plain_seconds > 3 * seconds
