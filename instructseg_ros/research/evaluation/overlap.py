"""Overlap of masks: IoU, cIoU, gIoU and precision."""

from __future__ import annotations

from typing import Final

import numpy as np


def intersection_over_union(mask: np.ndarray, truth: np.ndarray) -> float:
    """IoU of two (H, W) bool masks; 1 where both are empty."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


_THRESHOLDS: Final = (0.5, 0.6, 0.7, 0.8, 0.9)
_EPSILON: Final = 1e-5


class Overlap:
    """Sums over the masks of a benchmark."""

    def __init__(self) -> None:
        self._shared = 0
        self._either = 0
        self._overlaps: list[float] = []

    def add(self, mask: np.ndarray, truth: np.ndarray, counted: np.ndarray | None = None) -> None:
        """Count a mask.

        Args:
            mask, truth: (H, W) bool.
            counted: (H, W) bool, pixels that are looked at; None: all.
        """
        if counted is not None:
            mask, truth = mask & counted, truth & counted
        shared, either = int((mask & truth).sum()), int((mask | truth).sum())
        self._shared += shared
        self._either += either
        self._overlaps.append(shared / (either + _EPSILON) if either else 1.0)

    def figures(self) -> dict[str, float]:
        """CIoU (of all pixels together), gIoU (mean over masks) and precision, 0 to 1."""
        overlaps = np.array(self._overlaps)
        figures = {
            'cIoU': self._shared / self._either if self._either else float(len(overlaps) > 0),
            'gIoU': float(overlaps.mean()) if len(overlaps) else 0.0,
            'n': len(overlaps),
        }
        for threshold in _THRESHOLDS:
            above = float((overlaps > threshold).mean()) if len(overlaps) else 0.0
            figures[f'P@{threshold}'] = above
        return figures
