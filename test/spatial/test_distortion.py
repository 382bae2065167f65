from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from instructseg_ros.spatial.distortion import DistortionError, Fisheye, read_distortion

LENSES = {
    'plumb_bob': ('plumb_bob', [-0.3, 0.09, 1e-3, -2e-3, 0.01]),
    'plumb_bob of four': ('plumb_bob', [0.1, -0.2, -1e-3, 5e-4]),
    'rational': ('rational_polynomial', [2.3, 1.4, 3e-4, -1e-4, 0.05, 2.6, 1.9, 0.3]),
    'thin prism': (
        'rational_polynomial',
        [0.2, 0.1, 1e-3, 1e-3, 0.0, 0.4, 0.1, 0.0, 2e-3, 1e-4, -1e-3, 2e-4],
    ),
    'equidistant': ('equidistant', [-0.01, 0.02, -0.015, 0.003]),
    'equidistant without coefficients': ('equidistant', []),
}


def grid(reach: float = 0.6, steps: int = 41) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.linspace(-reach, reach, steps), np.linspace(-reach, reach, steps))
    return x, y


def opencv_rays(model: str, d: list[float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    places, eye = np.stack([x.ravel(), y.ravel()], -1)[:, None], np.eye(3)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 500, 1e-14)
    if model == 'equidistant':
        coefficients = np.array(d or [0.0] * 4)
        rays = cv2.fisheye.undistortPoints(places, eye, coefficients, criteria=criteria)
    else:
        rays = cv2.undistortPoints(places, eye, np.array(d), criteria=criteria)
    return rays.reshape(*x.shape, 2)


@pytest.mark.parametrize('lens', LENSES)
def test_rays_are_those_of_opencv(lens: str) -> None:
    model, d = LENSES[lens]
    distortion = read_distortion(model, d)
    assert distortion is not None
    x, y = grid()
    rays = np.stack(distortion.undistort(x, y), -1)
    np.testing.assert_allclose(rays, opencv_rays(model, d, x, y), atol=1e-6)


@pytest.mark.parametrize('lens', LENSES)
def test_rays_are_projected_as_by_opencv(lens: str) -> None:
    model, d = LENSES[lens]
    distortion = read_distortion(model, d)
    assert distortion is not None
    x, y = grid()
    points = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 1, 3)
    zero = np.zeros(3)
    if model == 'equidistant':
        there, _ = cv2.fisheye.projectPoints(
            points, zero, zero, np.eye(3), np.array(d or [0.0] * 4)
        )
    else:
        there, _ = cv2.projectPoints(points, zero, zero, np.eye(3), np.array(d))
    np.testing.assert_allclose(
        np.stack(distortion.distort(x, y), -1).reshape(-1, 2), there.reshape(-1, 2), atol=1e-9
    )


@pytest.mark.parametrize('lens', LENSES)
def test_the_inverse_undoes_the_distortion(lens: str) -> None:
    distortion = read_distortion(*LENSES[lens])
    assert distortion is not None
    x, y = grid()
    np.testing.assert_allclose(distortion.undistort(*distortion.distort(x, y)), (x, y), atol=1e-9)


def test_a_position_that_no_ray_reaches_has_no_ray() -> None:
    barrel = read_distortion('plumb_bob', [-0.5, 0.0, 0.0, 0.0])  # folds back beyond 0.816
    assert barrel is not None
    x, y = barrel.undistort(np.array([0.5, 0.6, 3.0]), np.zeros(3))
    assert np.isfinite(x[0]) and x[0] < 0.82
    assert np.isnan(x[1:]).all() and np.isnan(y[1:]).all()
    fisheye = Fisheye(coefficients=(0.0,) * 4)
    assert np.isnan(fisheye.undistort(np.array([1.6]), np.array([0.0]))).all()


@pytest.mark.parametrize('lens', LENSES)
def test_a_ray_outside_the_model_does_not_fold_back_onto_the_image(lens: str) -> None:
    distortion = read_distortion(*LENSES[lens])
    assert distortion is not None
    x = np.linspace(0.0, 50.0, 2000)
    there, _ = distortion.distort(x, np.zeros_like(x))
    assert (np.diff(there) > 0).all()


@pytest.mark.parametrize(
    ('model', 'd'),
    [
        ('plumb_bob', [0.0] * 5),
        ('plumb_bob', []),
        ('', []),
        ('none', [0.0]),
        ('anything', [0.0] * 6),
    ],
)
def test_a_lens_without_coefficients_distorts_nothing(model: str, d: list[float]) -> None:
    assert read_distortion(model, d) is None


@pytest.mark.parametrize(
    ('model', 'd', 'words'),
    [
        ('omnidirectional', [0.1], '"omnidirectional", which is not supported; rectify the images'),
        ('', [0.1] * 5, 'the distortion model "", which is not supported'),
        ('plumb_bob', [0.1] * 6, '6 distortion coefficients, an invalid number for plumb_bob'),
        ('equidistant', [0.1] * 5, '5 distortion coefficients, an invalid number for equidistant'),
        ('plumb_bob', [float('nan')] * 5, 'are not finite'),
        ('rational_polynomial', [0.1] * 14, 'a tilted sensor'),
    ],
)
def test_an_unknown_distortion_is_refused_with_a_plain_reason(
    model: str, d: list[Any], words: str
) -> None:
    with pytest.raises(DistortionError, match=words):
        read_distortion(model, d)
