"""Lens distortion of sensor_msgs/CameraInfo, and its inverse.

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
_COUNTS: Final = (4, 5, 8, 12, 14)  # possible numbers of coefficients in OpenCV
_FISHEYE: Final = 'equidistant'
_TILT: Final = 12  # index of the first coefficient of a tilted sensor
_MAX_ANGLE: Final = np.deg2rad(85.0)  # to the optical axis; depth is unreliable beyond
_TABLE_SIZE: Final = 4096  # entries of the table from which the inverse starts
_NEWTON_STEPS: Final = 4

Coordinates = tuple[np.ndarray, np.ndarray]


class DistortionError(ValueError):
    """A distortion is not supported; the error says why and how to fix it."""


class Distortion(Protocol):
    """Maps x / z and y / z of rays to distorted positions on the plane z = 1, and back."""

    def distort(self, x: np.ndarray, y: np.ndarray) -> Coordinates:
        """Return the distorted positions of rays."""

    def undistort(self, x: np.ndarray, y: np.ndarray) -> Coordinates:
        """Return the rays of distorted positions; NaN for positions that no ray reaches."""


def read_distortion(model: str, coefficients: Sequence[float]) -> Distortion | None:
    """Return the distortion model of a camera_info; None without distortion.

    Args:
        model: plumb_bob, rational_polynomial or equidistant; others only without coefficients.
        coefficients: D: k1, k2, p1, p2, k3, ...; for equidistant k1 to k4.

    Raises:
        DistortionError: The model is not supported, or its coefficients are invalid.
    """
    values = tuple(float(value) for value in coefficients)
    if not all(np.isfinite(values)):
        raise DistortionError(
            f'camera_info has distortion coefficients that are not finite, '
            f'{values}; calibrate the camera'
        )
    if model == _FISHEYE and len(values) in (0, 4):
        return Fisheye(coefficients=values or (0.0,) * 4)
    if model != _FISHEYE and not any(values):
        return None
    if model not in (*_POLYNOMIALS, _FISHEYE):
        raise DistortionError(
            f'camera_info has the distortion model "{model[:40]}", which is not supported; rectify '
            f'the images (image_proc), or calibrate the camera with plumb_bob, '
            f'rational_polynomial or equidistant'
        )
    if model == _FISHEYE or len(values) not in _COUNTS:
        raise DistortionError(
            f'camera_info has {len(values)} distortion coefficients, an '
            f'invalid number for {model}; calibrate the camera'
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
        """Return the distorted positions of rays, extrapolated outside the range of the model.

        Outside its range, the polynomial would fold rays back onto the image.
        """
        radius, _ = _polynomial_table(self)
        shrink = np.minimum(1.0, radius[-1] / np.maximum(np.hypot(x, y), 1e-12))
        there_x, there_y = self._evaluate(x * shrink, y * shrink)
        return there_x / shrink, there_y / shrink

    def undistort(self, x: np.ndarray, y: np.ndarray) -> Coordinates:
        """Return the rays of distorted positions, by Newton's method; NaN if there is none."""
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
        """Return the radial factor for squared radii, and its derivative with respect to them."""
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
        """Return the rays after a Newton step, given the errors of the positions of (x, y)."""
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
    """Kannala-Brandt distortion, a polynomial of the angle to the optical axis (equidistant).

    Attributes:
        coefficients: k1, k2, k3, k4.
    """

    coefficients: tuple[float, ...]

    def distort(self, x: np.ndarray, y: np.ndarray) -> Coordinates:
        """Return the distorted positions of rays."""
        angles, distorted = _fisheye_table(self)
        radius = np.hypot(x, y)
        angle = np.arctan(radius)
        there = np.where(angle < angles[-1], self.radius(angle), angle * distorted[-1] / angles[-1])
        scale = np.where(radius > 1e-12, there / np.maximum(radius, 1e-12), 1.0)
        return x * scale, y * scale

    def undistort(self, x: np.ndarray, y: np.ndarray) -> Coordinates:
        """Return the rays of distorted positions, by Newton's method; NaN if there is none."""
        angles, distorted = _fisheye_table(self)
        radius = np.hypot(x, y)
        angle = np.interp(radius, distorted, angles)
        for _ in range(_NEWTON_STEPS):
            angle = angle - (self.radius(angle) - radius) / self._slope(angle)
        scale = np.where(radius > 1e-12, np.tan(angle) / np.maximum(radius, 1e-12), 1.0)
        scale = np.where(radius <= distorted[-1], scale, np.nan)
        return x * scale, y * scale

    def radius(self, angle: np.ndarray) -> np.ndarray:
        """Return the distorted distance from the centre for angles to the axis, rad."""
        k1, k2, k3, k4 = self.coefficients
        square = angle * angle
        return angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))

    def _slope(self, angle: np.ndarray) -> np.ndarray:
        k1, k2, k3, k4 = self.coefficients
        square = angle * angle
        return 1 + square * (3 * k1 + square * (5 * k2 + square * (7 * k3 + square * 9 * k4)))


@lru_cache(maxsize=16)
def _polynomial_table(lens: Polynomial) -> Coordinates:
    """Tabulate radii of rays and their distorted radii."""
    radius = np.linspace(0.0, np.tan(_MAX_ANGLE), _TABLE_SIZE)
    with np.errstate(all='ignore'):
        return _increasing_part(radius, radius * lens.radial(radius * radius)[0])


@lru_cache(maxsize=16)
def _fisheye_table(lens: Fisheye) -> Coordinates:
    """Tabulate angles of rays, rad, and their distorted radii."""
    angles = np.linspace(0.0, _MAX_ANGLE, _TABLE_SIZE)
    return _increasing_part(angles, lens.radius(angles))


def _increasing_part(given: np.ndarray, distorted: np.ndarray) -> Coordinates:
    """Truncate a table where it stops growing; beyond that, a position would have two rays."""
    falls = ~(np.diff(distorted) > 0)
    stop = int(falls.argmax()) + 1 if falls.any() else len(given)
    return given[:stop], distorted[:stop]
