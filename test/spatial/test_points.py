from __future__ import annotations

import numpy as np

from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.spatial.points import deproject

CAMERA = Pinhole(width=64, height=48, fx=60.0, fy=50.0, cx=31.5, cy=23.5)


def test_points_project_back_onto_their_pixels_at_their_depth() -> None:
    depth = np.random.default_rng(0).uniform(0.5, 2.0, (48, 64)).astype(np.float32)
    points = deproject(depth, CAMERA, np.ones((48, 64), bool))
    assert points.shape == (48, 64, 3) and points.dtype == np.float32
    columns, rows = np.meshgrid(np.arange(64), np.arange(48))
    assert np.allclose(CAMERA.project(points), np.stack([columns, rows], -1), atol=1e-3)
    assert np.array_equal(points[..., 2], depth)


def test_there_is_nothing_outside_the_mask_and_without_depth() -> None:
    depth = np.ones((48, 64), np.float32)
    depth[10, 10] = np.nan
    mask = np.zeros((48, 64), bool)
    mask[8:12, 9:14] = True
    points = deproject(depth, CAMERA, mask)
    there = np.isfinite(points).all(-1)
    assert there.sum() == 19 and there[mask].sum() == 19 and np.isnan(points[10, 10]).all()
    assert np.isnan(deproject(depth, CAMERA, np.zeros_like(mask))).all()


def test_depth_and_calibration_of_other_resolutions_are_of_the_same_view() -> None:
    ramp = np.repeat(np.arange(1, 33, dtype=np.float32), 2)[None].repeat(48, 0)
    mask = np.ones((48, 64), bool)
    whole = deproject(ramp, CAMERA, mask)
    half = deproject(ramp[::2, ::2], CAMERA.scaled(32, 24), mask)
    assert np.allclose(whole, half, atol=1e-4)
    double = deproject(ramp, CAMERA, np.ones((96, 128), bool))
    assert double.shape == (96, 128, 3)
    assert np.allclose(double.reshape(48, 2, 64, 2, 3).mean((1, 3)), whole, atol=1e-3)
