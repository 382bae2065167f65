"""The pinhole camera of a calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

_REMEDY: Final = 'calibrate the camera, or let the driver publish camera_info'


class CalibrationError(ValueError):
    """A calibration is of no use; the message names what is wrong and the remedy."""


class CameraInfoMessage(Protocol):
    """The fields of sensor_msgs/CameraInfo that are read."""

    width: int
    height: int
    k: Sequence[float]
    p: Sequence[float]
    binning_x: int
    binning_y: int
    roi: Any


@dataclass(frozen=True, kw_only=True)
class Pinhole:
    """A camera without distortion; pixel centres lie at whole numbers.

    Attributes:
        width: Of the image, pixels.
        height: Of the image, pixels.
        fx: Focal length, pixels.
        fy: Focal length, pixels.
        cx: Column of the optical axis, pixels.
        cy: Row of the optical axis, pixels.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @staticmethod
    def of(info: CameraInfoMessage) -> Pinhole:
        """Return the camera of a sensor_msgs/CameraInfo, as its images are after ROI and binning.

        P, which rectified images follow, where the driver fills it in, else K.

        Raises:
            CalibrationError: The camera is not calibrated, or binning leaves no pixel.
        """
        p, k = info.p, info.k
        fx, cx, fy, cy = (float(value) for value in (
            (p[0], p[2], p[5], p[6]) if p[0] > 0 else (k[0], k[2], k[4], k[5])))
        _check_size(info.width, info.height)
        _check_optics(fx, fy, cx, cy)
        roi = info.roi
        whole = Pinhole(width=info.width, height=info.height, fx=fx, fy=fy, cx=cx, cy=cy)
        part = whole if not (roi.width and roi.height) else Pinhole(
            width=roi.width, height=roi.height, fx=fx, fy=fy,
            cx=cx - roi.x_offset, cy=cy - roi.y_offset)
        width, height = (part.width // max(1, info.binning_x),
                         part.height // max(1, info.binning_y))
        _check_size(width, height)
        return part.scaled(width, height)

    def scaled(self, width: int, height: int) -> Pinhole:
        """Return the camera of the same field of view at another resolution, pixels."""
        if (width, height) == (self.width, self.height):
            return self
        x, y = width / self.width, height / self.height
        return Pinhole(width=width, height=height, fx=x * self.fx, fy=y * self.fy,
                       cx=x * (self.cx + 0.5) - 0.5, cy=y * (self.cy + 0.5) - 0.5)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the (..., 2) column and row, pixels, of (..., 3) points before the camera, m."""
        z = np.maximum(points[..., 2], 1e-6)
        return np.stack([self.fx * points[..., 0] / z + self.cx,
                         self.fy * points[..., 1] / z + self.cy], axis=-1)


def _check_size(width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise CalibrationError(f'camera_info is of an image of {width} x {height} pixels; '
                               f'{_REMEDY}')


def _check_optics(fx: float, fy: float, cx: float, cy: float) -> None:
    if not (0 < fx < math.inf and 0 < fy < math.inf):
        raise CalibrationError(f'camera_info has focal lengths {fx:g} and {fy:g}, the camera is '
                               f'not calibrated; {_REMEDY}')
    if not (math.isfinite(cx) and math.isfinite(cy)):
        raise CalibrationError(f'camera_info has its optical axis at ({cx:g}, {cy:g}); {_REMEDY}')
