from __future__ import annotations

import numpy as np

from instructseg_ros.spatial.plane import grown, steadied


def test_a_mask_grows_by_a_radius_in_all_directions() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 0] = True
    assert np.argwhere(grown(mask, 2)).tolist() == [
        [row, column] for row in range(2, 7) for column in range(3)
    ]


def test_flying_pixels_go_and_straight_borders_stay() -> None:
    depth = np.full((10, 10), 1.0)
    depth[3:7, 2] = [1.1, 1.3, 1.2, 1.4]
    inside = np.zeros((10, 10), bool)
    inside[2:8, 2:9] = True
    steady = steadied(depth, inside)
    assert np.isnan(steady[3:7, 2]).all() and np.isnan(steady[~inside]).all()
    assert np.array_equal(steady[3:7, 3:9], np.ones((4, 6)))


def test_a_slope_stays_where_it_is_and_noise_is_averaged() -> None:
    slope = 1.0 + 0.002 * np.arange(20)[None].repeat(20, 0)
    inside = np.ones((20, 20), bool)
    assert np.allclose(steadied(slope, inside), slope)
    noisy = slope + np.random.default_rng(0).normal(0, 0.002, slope.shape)
    assert np.std(steadied(noisy, inside) - slope) < 0.001


def test_a_hole_stays_a_hole() -> None:
    depth = np.ones((6, 6))
    depth[2, 2] = np.nan
    steady = steadied(depth, np.ones((6, 6), bool))
    assert np.isnan(steady[2, 2]) and np.isfinite(steady).sum() == 35
