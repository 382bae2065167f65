from __future__ import annotations

import cv2
import numpy as np
import pytest

from instructseg_ros.spatial.box import fit_box
from instructseg_ros.spatial.depth import FieldOfViewError
from instructseg_ros.spatial.distortion import read_distortion
from instructseg_ros.spatial.pinhole import Pinhole, deproject

CAMERA = Pinhole(width=64, height=48, fx=60.0, fy=50.0, cx=31.5, cy=23.5)


def test_points_project_back_onto_their_pixels_at_their_depth() -> None:
    depth = np.random.default_rng(0).uniform(0.5, 2.0, (48, 64)).astype(np.float32)
    points = deproject(depth, CAMERA, np.ones((48, 64), bool))
    assert points.shape == (48, 64, 3) and points.dtype == np.float32
    columns, rows = np.meshgrid(np.arange(64), np.arange(48))
    assert np.allclose(CAMERA.project(points), np.stack([columns, rows], -1), atol=1e-3)
    assert np.array_equal(points[..., 2], depth)


def test_there_are_no_points_outside_the_mask_or_without_depth() -> None:
    depth = np.ones((48, 64), np.float32)
    depth[10, 10] = np.nan
    mask = np.zeros((48, 64), bool)
    mask[8:12, 9:14] = True
    points = deproject(depth, CAMERA, mask)
    there = np.isfinite(points).all(-1)
    assert there.sum() == 19 and there[mask].sum() == 19 and np.isnan(points[10, 10]).all()
    assert np.isnan(deproject(depth, CAMERA, np.zeros_like(mask))).all()


def test_depth_and_calibration_may_have_other_resolutions() -> None:
    ramp = np.repeat(np.arange(1, 33, dtype=np.float32), 2)[None].repeat(48, 0)
    mask = np.ones((48, 64), bool)
    whole = deproject(ramp, CAMERA, mask)
    half = deproject(ramp[::2, ::2], CAMERA.scaled(32, 24), mask)
    assert np.allclose(whole, half, atol=1e-4)
    double = deproject(ramp, CAMERA, np.ones((96, 128), bool))
    assert double.shape == (96, 128, 3)
    assert np.allclose(double.reshape(48, 2, 64, 2, 3).mean((1, 3)), whole, atol=1e-3)


def seen_through(lens: tuple[str, list[float]]) -> Pinhole:
    """A camera of 640 x 480 pixels behind a lens."""
    return Pinhole(
        width=640, height=480, fx=500.0, fy=500.0, cx=319.5, cy=239.5, lens=read_distortion(*lens)
    )


@pytest.mark.parametrize(
    'lens',
    [
        ('plumb_bob', [-0.3, 0.09, 0.0, 0.0, 0.0]),
        ('rational_polynomial', [0.5, -0.1, 1e-3, -5e-4, 0.0, 0.9, 0.1, 0.02]),
        ('equidistant', [0.01, -0.02, 0.0, 0.0]),
    ],
)
@pytest.mark.parametrize('off', [0.3, 0.4])
def test_points_behind_a_lens_lie_where_opencv_sees_them(
    lens: tuple[str, list[float]], off: float
) -> None:
    camera, point = seen_through(lens), np.array([0.8 * off, 0.6 * off, 0.8])
    k = np.array([[500.0, 0.0, 319.5], [0.0, 500.0, 239.5], [0.0, 0.0, 1.0]])
    project = cv2.fisheye.projectPoints if lens[0] == 'equidistant' else cv2.projectPoints
    there, _ = project(point.reshape(1, 1, 3), np.zeros(3), np.zeros(3), k, np.array(lens[1]))
    column, row = there.ravel()
    mask = np.zeros((480, 640), bool)
    mask[int(row) : int(row) + 2, int(column) : int(column) + 2] = True
    corners = deproject(np.full((480, 640), 0.8, np.float32), camera, mask)[mask]
    right, down = column % 1, row % 1  # between the four pixels around it
    weights = np.array(
        [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    )
    assert weights @ corners == pytest.approx(point, abs=1e-5)


def test_a_box_behind_a_lens_stands_where_it_is() -> None:
    camera = seen_through(('plumb_bob', [-0.3, 0.09, 0.0, 0.0, 0.0]))
    rays = np.stack(np.broadcast_arrays(*camera.rays(slice(0, 480), slice(0, 640))), -1)
    mask = (np.abs(0.8 * rays - [0.24, -0.18]) < 0.03).all(-1)
    depth = np.where(mask, 0.8, np.nan).astype(np.float32)
    assert fit_box(depth, camera, mask).center == pytest.approx([0.24, -0.18, 0.8], abs=2e-3)


def test_a_pixel_that_no_ray_reaches_has_no_point() -> None:
    camera = seen_through(('plumb_bob', [-2.0, 0.0, 0.0, 0.0]))
    points = deproject(np.ones((480, 640), np.float32), camera, np.ones((480, 640), bool))
    assert np.isnan(points[0, 0]).all() and np.isfinite(points[240, 320]).all()


@pytest.mark.parametrize(
    ('depth', 'image'),
    [((480, 640), (720, 1280)), ((480, 848), (1080, 1920)), ((64, 48), (48, 64))],
)
def test_depth_of_another_aspect_ratio_is_refused(
    depth: tuple[int, int], image: tuple[int, int]
) -> None:
    metres, mask = np.ones(depth, np.float32), np.ones(image, bool)
    camera = Pinhole(width=image[1], height=image[0], fx=60.0, fy=60.0, cx=30.0, cy=20.0)
    for use in (deproject, fit_box):
        with pytest.raises(FieldOfViewError, match='the depth image is for'):
            use(metres, camera, mask)
