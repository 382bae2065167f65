"""Overlap of masks."""

from __future__ import annotations

import numpy as np


def intersection_over_union(mask: np.ndarray, truth: np.ndarray) -> float:
    """IoU of two (H, W) bool masks; 1 where both are empty."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0
