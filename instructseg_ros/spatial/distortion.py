"""Lens distortion as sensor_msgs/CameraInfo describes it, and its inverse.

The models are those of OpenCV (calib3d: "Camera Calibration and 3D Reconstruction" and
"Fisheye camera model"): plumb_bob and rational_polynomial after Brown and Conrady, equidistant
after Kannala and Brandt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

import numpy as np

_POLYNOMIALS: Final = ('plumb_bob', 'rational_polynomial')
_SIZES: Final = (4, 5, 8, 12, 14)  # numbers of coefficients that OpenCV knows
_FISHEYE: Final = 'equidistant'
_TILT: Final = 12  # from this coefficient on they tilt the sensor
_WIDEST: Final = np.deg2rad(85.0)  # to the optical axis, from which depth along it says little
_STEPS: Final = 4096  # of the table from which the inverse starts
_NEWTON_STEPS: Final = 4

Coordinates = tuple[np.ndarray, np.ndarray]


class DistortionError(ValueError):
    """A distortion cannot be undone; the message says why and names the remedy."""


class Distortion(Protocol):
    """Where a lens puts rays: x / z and y / z of a ray, and the same on the image."""

    def distort(self, x: np.ndarray, y: np.ndarray) -> Coordinates:
        """Return where rays appear on the image."""

    def undistort(self, x: np.ndarray, y: np.ndarray) -> Coordinates:
        """Return the rays that appear on the image at some places; NaN where none does."""


def read_distortion(model: str, coefficients: Sequence[float]) -> Distortion | None:
    """Return the distortion that a camera_info names; None without any.

    Args:
        model: plumb_bob, rational_polynomial or equidistant; others only without coefficients.
        coefficients: D: k1, k2, p1, p2, k3, ..., of equidistant k1 to k4.

    Raises:
        DistortionError: The model is not known, or does not have these coefficients.
    """
    values = tuple(float(value) for value in coefficients)
    if not all(np.isfinite(values)):
        raise DistortionError(
            f'camera_info has distortion coefficients that are no numbers, '
            f'{values}; calibrate the camera'
        )
    if model == _FISHEYE and len(values) in (0, 4):
        return Fisheye(coefficients=values or (0.0,) * 4)
    if model != _FISHEYE and not any(values):
        return None
    if model not in (*_POLYNOMIALS, _FISHEYE):
        raise DistortionError(
            f'camera_info has the distortion model "{model[:40]}", which is not known; rectify '
            f'the images (image_proc), or calibrate the camera with plumb_bob, '
            f'rational_polynomial or equidistant'
        )
    if model == _FISHEYE or len(values) not in _SIZES:
        raise DistortionError(
            f'camera_info has {len(values)} distortion coefficients, which '
            f'{model} does not have; calibrate the camera'
        )
    if any(values[_TILT:]):
        raise DistortionError(
            'camera_info has a tilted sensor (distortion coefficients 13 and '
            '14), which is not supported; rectify the images (image_proc)'
        )
    return Polynomial(coefficients=(values + (0.0,) * _TILT)[:_TILT])


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """Radial, tangential and thin-prism distortion (plumb_bob, rational_polynomial).

    Attributes:
        coefficients: k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, as in OpenCV.
    """

    coefficients: tuple[float, ...]

    def distort(self, x: np.ndarray, y: np.ndarray) -> Coordinates:
        """Return where rays appear; beyond what the model describes, in proportion to their angle.

        A polynomial would bring such rays back onto the image.
        """
        radius, _ = _polynomial_table(self)
        shrink = np.minimum(1.0, radius[-1] / np.maximum(np.hypot(x, y), 1e-12))
        there_x, there_y = self._evaluate(x * shrink, y * shrink)
        return there_x / shrink, there_y / shrink

    def undistort(self, x: np.ndarray, y: np.ndarray) -> Coordinates:
        """Return the rays that appear at some places, by Newton's method; NaN where none does."""
        radius, distorted = _polynomial_table(self)
        length = np.hypot(x, y)
        scale = np.interp(length, distorted, radius) / np.maximum(length, 1e-12)
        ray_x, ray_y = x * scale, y * scale
        with np.errstate(all='ignore'):
            for _ in range(_NEWTON_STEPS):
                there_x, there_y = self._evaluate(ray_x, ray_y)
                ray_x, ray_y = self._step(ray_x, ray_y, there_x - x, there_y - y)
            there_x, there_y = self._evaluate(ray_x, ray_y)
            right = (np.hypot(there_x - x, there_y - y) < 1e-7) & (
                np.hypot(ray_x, ray_y) <= radius[-1]
            )
        return np.where(right, ray_x, np.nan), np.where(right, ray_y, np.nan)

    def radial(self, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the radial factor for squared radii, and its derivative by them."""
        k1, k2, _, _, k3, k4, k5, k6 = self.coefficients[:8]
        above = 1 + square * (k1 + square * (k2 + square * k3))
        below = 1 + square * (k4 + square * (k5 + square * k6))
        slope_above = k1 + square * (2 * k2 + square * 3 * k3)
        slope_below = k4 + square * (2 * k5 + square * 3 * k6)
        factor = above / below
        return factor, (slope_above - factor * slope_below) / below

    def _evaluate(self, x: np.ndarray, y: np.ndarray) -> Coordinates:
        p1, p2 = self.coefficients[2:4]
        s1, s2, s3, s4 = self.coefficients[8:]
        square = x * x + y * y
        factor, _ = self.radial(square)
        return (
            x * factor + 2 * p1 * x * y + p2 * (square + 2 * x * x) + square * (s1 + s2 * square),
            y * factor + p1 * (square + 2 * y * y) + 2 * p2 * x * y + square * (s3 + s4 * square),
        )

    def _step(
        self, x: np.ndarray, y: np.ndarray, off_x: np.ndarray, off_y: np.ndarray
    ) -> Coordinates:
        """Return rays that are nearer, given how far off those of (x, y) appear."""
        p1, p2 = self.coefficients[2:4]
        s1, s2, s3, s4 = self.coefficients[8:]
        square = x * x + y * y
        factor, slope = self.radial(square)
        prism_x, prism_y = 2 * (s1 + 2 * s2 * square), 2 * (s3 + 2 * s4 * square)
        xx = factor + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x + x * prism_x
        xy = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y + y * prism_x
        yx = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y + x * prism_y
        yy = factor + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x + y * prism_y
        area = xx * yy - xy * yx
        return x - (yy * off_x - xy * off_y) / area, y - (xx * off_y - yx * off_x) / area


@dataclass(frozen=True, kw_only=True)
class Fisheye:
    """A lens whose image grows with the angle to its axis (equidistant).

    Attributes:
        coefficients: k1, k2, k3, k4.
    """

    coefficients: tuple[float, ...]

    def distort(self, x: np.ndarray, y: np.ndarray) -> Coordinates:
        """Return where rays appear."""
        angles, distorted = _fisheye_table(self)
        radius = np.hypot(x, y)
        angle = np.arctan(radius)
        there = np.where(angle < angles[-1], self.radius(angle), angle * distorted[-1] / angles[-1])
        scale = np.where(radius > 1e-12, there / np.maximum(radius, 1e-12), 1.0)
        return x * scale, y * scale

    def undistort(self, x: np.ndarray, y: np.ndarray) -> Coordinates:
        """Return the rays that appear at some places, by Newton's method; NaN where none does."""
        angles, distorted = _fisheye_table(self)
        radius = np.hypot(x, y)
        angle = np.interp(radius, distorted, angles)
        for _ in range(_NEWTON_STEPS):
            angle = angle - (self.radius(angle) - radius) / self._slope(angle)
        scale = np.where(radius > 1e-12, np.tan(angle) / np.maximum(radius, 1e-12), 1.0)
        scale = np.where(radius <= distorted[-1], scale, np.nan)
        return x * scale, y * scale

    def radius(self, angle: np.ndarray) -> np.ndarray:
        """Return how far from the centre rays appear at some angles to the axis, rad."""
        k1, k2, k3, k4 = self.coefficients
        square = angle * angle
        return angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))

    def _slope(self, angle: np.ndarray) -> np.ndarray:
        k1, k2, k3, k4 = self.coefficients
        square = angle * angle
        return 1 + square * (3 * k1 + square * (5 * k2 + square * (7 * k3 + square * 9 * k4)))


@lru_cache(maxsize=16)
def _polynomial_table(lens: Polynomial) -> Coordinates:
    """Return radii of rays, and where radial distortion puts them."""
    radius = np.linspace(0.0, np.tan(_WIDEST), _STEPS)
    with np.errstate(all='ignore'):
        return _growing(radius, radius * lens.radial(radius * radius)[0])


@lru_cache(maxsize=16)
def _fisheye_table(lens: Fisheye) -> Coordinates:
    """Return angles of rays, rad, and where distortion puts them."""
    angles = np.linspace(0.0, _WIDEST, _STEPS)
    return _growing(angles, lens.radius(angles))


def _growing(given: np.ndarray, distorted: np.ndarray) -> Coordinates:
    """Return a table up to where it stops growing: beyond, a place would have two rays."""
    falls = ~(np.diff(distorted) > 0)
    stop = int(falls.argmax()) + 1 if falls.any() else len(given)
    return given[:stop], distorted[:stop]
