from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.spatial.plane import fit_plane


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
