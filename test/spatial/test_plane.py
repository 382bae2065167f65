from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.spatial.plane import denoise_depth, dilate, fit_plane


def _table(rng: np.random.Generator, count: int = 2000) -> np.ndarray:
    """Points of the plane y = 0.4 - 0.2 z below a camera."""
    x, z = rng.uniform(-0.5, 0.5, count), rng.uniform(0.6, 1.4, count)
    return np.column_stack([x, 0.4 - 0.2 * z, z])


def test_a_plane_is_found_under_noise_and_clutter_and_points_to_the_camera() -> None:
    rng = np.random.default_rng(0)
    table = _table(rng) + rng.normal(0, 0.001, (2000, 3))
    clutter = rng.uniform([-0.5, -0.3, 0.6], [0.5, 0.1, 1.4], (1500, 3))
    plane = fit_plane(np.concatenate([table, clutter]), above=clutter[:100])
    assert plane is not None
    up = np.array([0, -1, -0.2]) / np.hypot(1, 0.2)
    assert plane.normal @ up > np.cos(np.deg2rad(0.3))
    assert plane.heights(np.array([0.0, 0.1, 1.0])) == pytest.approx(0.1 * up[1] * -1, abs=2e-3)


def test_a_plane_that_cuts_through_the_target_does_not_count() -> None:
    rng = np.random.default_rng(0)
    table = _table(rng)
    assert fit_plane(table, above=table + [0, 0.1, 0]) is None


def test_there_is_no_plane_in_a_cloud_nor_in_a_few_points() -> None:
    rng = np.random.default_rng(0)
    cloud = rng.uniform([-0.5, -0.5, 0.6], [0.5, 0.5, 1.4], (2000, 3))
    assert fit_plane(cloud, above=cloud[:100]) is None
    assert fit_plane(_table(rng, 30), above=cloud[:100]) is None


def test_a_mask_is_dilated_in_all_directions() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 0] = True
    assert np.argwhere(dilate(mask, 2)).tolist() == [
        [row, column] for row in range(2, 7) for column in range(3)
    ]


def test_flying_pixels_are_dropped_and_straight_borders_kept() -> None:
    depth = np.full((10, 10), 1.0)
    depth[3:7, 2] = [1.1, 1.3, 1.2, 1.4]
    inside = np.zeros((10, 10), bool)
    inside[2:8, 2:9] = True
    steady = denoise_depth(depth, inside)
    assert np.isnan(steady[3:7, 2]).all() and np.isnan(steady[~inside]).all()
    assert np.array_equal(steady[3:7, 3:9], np.ones((4, 6)))


def test_a_slope_is_kept_and_noise_is_averaged() -> None:
    slope = 1.0 + 0.002 * np.arange(20)[None].repeat(20, 0)
    inside = np.ones((20, 20), bool)
    assert np.allclose(denoise_depth(slope, inside), slope)
    noisy = slope + np.random.default_rng(0).normal(0, 0.002, slope.shape)
    assert np.std(denoise_depth(noisy, inside) - slope) < 0.001


def test_a_hole_in_the_depth_stays_a_hole() -> None:
    depth = np.ones((6, 6))
    depth[2, 2] = np.nan
    steady = denoise_depth(depth, np.ones((6, 6), bool))
    assert np.isnan(steady[2, 2]) and np.isfinite(steady).sum() == 35
