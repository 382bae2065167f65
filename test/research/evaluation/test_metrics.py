from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.research.evaluation.metrics import intersection_over_union, mean


def mask(*cells: int) -> np.ndarray:
    """A 3 x 4 mask with some cells, counted row by row."""
    flat = np.zeros(12, bool)
    flat[list(cells)] = True
    return flat.reshape(3, 4)


@pytest.mark.parametrize(
    ('first', 'second', 'overlap'),
    [
        (mask(1, 2, 5), mask(1, 2, 5), 1),
        (mask(1, 2), mask(3, 4), 0),
        (mask(0, 1, 2), mask(1, 2, 3), 0.5),
        (mask(0), mask(0, 1, 2, 3), 0.25),
        (mask(), mask(1), 0),
        (mask(*range(12)), mask(), 0),
        (mask(), mask(), 1),
    ],
)
def test_overlap_is_shared_pixels_by_all_pixels(
    first: np.ndarray, second: np.ndarray, overlap: float
) -> None:
    assert intersection_over_union(first, second) == overlap
    assert intersection_over_union(second, first) == overlap


def test_the_mean_of_nothing_is_0() -> None:
    assert mean([]) == 0
    assert mean([True, False]) == 0.5


def test_masks_in_any_memory_layout_overlap_alike() -> None:
    first, second = mask(0, 1, 2), mask(1, 2, 3)
    assert intersection_over_union(first[::-1], second[::-1]) == 0.5
    assert intersection_over_union(np.asfortranarray(first), second) == 0.5
