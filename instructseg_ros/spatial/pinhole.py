"""Models a calibrated camera as a pinhole behind a lens; converts depth images to points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np

from instructseg_ros.spatial.depth import check_same_view, nearest
from instructseg_ros.spatial.distortion import Distortion, DistortionError, read_distortion

_REMEDY: Final = 'calibrate the camera, or let the driver publish camera_info'
_MAX_SCALED: Final = 2  # other resolutions that a camera caches: those of masks and depth


class CalibrationError(ValueError):
    """A calibration cannot be used; the error says what is wrong and how to fix it."""


class CameraInfoMessage(Protocol):
    """The fields of sensor_msgs/CameraInfo that are read."""

    width: int
    height: int
    distortion_model: str
    d: Sequence[float]
    k: Sequence[float]
    p: Sequence[float]
    binning_x: int
    binning_y: int
    roi: Any


@dataclass(frozen=True, kw_only=True)
class Pinhole:
    """A camera; the centre of a pixel has integer coordinates.

    It caches the rays of its pixels, which are slow to compute: use the same object for all images
    of a camera.

    Attributes:
        width: Image width, pixels.
        height: Image height, pixels.
        fx: Focal length, pixels.
        fy: Focal length, pixels.
        cx: Column of the optical axis, pixels.
        cy: Row of the optical axis, pixels.
        lens: Lens distortion; None for rectified images.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    lens: Distortion | None = None

    @staticmethod
    def from_camera_info(info: CameraInfoMessage, *, rectified: bool) -> Pinhole:
        """Return the camera of a sensor_msgs/CameraInfo, with its region of interest and binning.

        As in image_geometry, R and the fourth column of P are ignored: points are in the optical
        frame of the camera that took the images.

        Args:
            info: The message.
            rectified: Whether the images are rectified and follow P. Raw images follow K and D.

        Raises:
            CalibrationError: The camera is not calibrated, its distortion is not supported, or
                region of interest and binning contradict its size.
        """
        _check_size(info.width, info.height)
        fx, fy, cx, cy = _optics_of(info, rectified=rectified)
        _check_optics(fx, fy, cx, cy)
        lens = None if rectified else _lens_of(info)
        whole = Pinhole(width=info.width, height=info.height, fx=fx, fy=fy, cx=cx, cy=cy, lens=lens)
        part = whole._cropped(info.roi)
        width = part.width // max(1, info.binning_x)
        height = part.height // max(1, info.binning_y)
        _check_size(width, height)
        return part._resized(width, height)

    def scaled(self, width: int, height: int) -> Pinhole:
        """Return this camera at another resolution, pixels, with the same field of view.

        The result is cached with its rays, since masks and depth images have one resolution each.

        Raises:
            FieldOfViewError: The resolution has a different aspect ratio.
        """
        check_same_view((self.height, self.width), (height, width), 'camera_info')
        size = width, height
        if size == (self.width, self.height):
            return self
        if size not in self._scaled and len(self._scaled) >= _MAX_SCALED:
            self._scaled.clear()
        return self._scaled.setdefault(size, self._resized(width, height))

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project (..., 3) points in front of the camera, m, to (..., 2) column and row, pixels."""
        z = np.maximum(points[..., 2], 1e-6)
        x, y = points[..., 0] / z, points[..., 1] / z
        if self.lens is not None:
            x, y = self.lens.distort(x, y)
        return np.stack([self.fx * x + self.cx, self.fy * y + self.cy], axis=-1)

    def rays(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return x / z and y / z of the rays of the pixels in a window of the image.

        Returns:
            Two float32 arrays that broadcast to (rows, columns); NaN for pixels without a ray.
        """
        if self.lens is not None:
            x, y = self._undistorted
            return x[rows, columns], y[rows, columns]
        x, y = _distorted(self)
        return x[columns].astype(np.float32), y[rows].astype(np.float32)

    @cached_property
    def _scaled(self) -> dict[tuple[int, int], Pinhole]:
        """Cache of the same camera at other resolutions."""
        return {}

    @cached_property
    def _undistorted(self) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) float32 x / z and y / z of the rays of all pixels of a camera with a lens."""
        assert self.lens is not None
        x, y = np.broadcast_arrays(*_distorted(self))
        x, y = self.lens.undistort(x, y)
        return x.astype(np.float32), y.astype(np.float32)

    def _cropped(self, roi: Any) -> Pinhole:
        """Return the camera of a region of interest; an empty region means the whole image."""
        if not (roi.width and roi.height):
            return self
        if roi.x_offset + roi.width > self.width or roi.y_offset + roi.height > self.height:
            raise CalibrationError(
                f'camera_info has a region of interest of {roi.width} x {roi.height} pixels at '
                f'({roi.x_offset}, {roi.y_offset}) that exceeds its image of {self.width} x '
                f'{self.height}; {_REMEDY}'
            )
        return replace(
            self,
            width=roi.width,
            height=roi.height,
            cx=self.cx - roi.x_offset,
            cy=self.cy - roi.y_offset,
        )

    def _resized(self, width: int, height: int) -> Pinhole:
        if (width, height) == (self.width, self.height):
            return self
        x, y = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=x * self.fx,
            fy=y * self.fy,
            cx=x * (self.cx + 0.5) - 0.5,
            cy=y * (self.cy + 0.5) - 0.5,
        )


class PinholeCache:
    """Converts calibrations, and keeps the last pinhole, because its rays are slow to compute.

    Args:
        rectified: Whether the images are rectified, see `Pinhole.from_camera_info`.
    """

    def __init__(self, *, rectified: bool) -> None:
        self._rectified = rectified
        self._last: Pinhole | None = None

    def convert(self, info: CameraInfoMessage) -> Pinhole:
        """Return the camera of a calibration, the same object for equal ones.

        Raises:
            CalibrationError: See `Pinhole.from_camera_info`.
        """
        pinhole = Pinhole.from_camera_info(info, rectified=self._rectified)
        if self._last is None or self._last != pinhole:
            self._last = pinhole
        return self._last


def named_rectified(topic: str) -> bool:
    """Return whether the images of a topic are rectified by its name.

    By convention, the last part of a rectified topic contains the word `rect` (image_proc:
    image_rect, image_rect_color), or its namespace is `rect` (ZED: rect/image).

    Args:
        topic: Resolved name, with or without `/compressed`.
    """
    namespace, _, name = topic.removesuffix('/compressed').rpartition('/')
    return not {'rect', 'rectified'}.isdisjoint({namespace.rpartition('/')[2], *name.split('_')})


def _distorted(camera: Pinhole) -> tuple[np.ndarray, np.ndarray]:
    """Return (columns,) x and (rows, 1) y of the pixels on the plane z = 1."""
    return (
        (np.arange(camera.width) - camera.cx) / camera.fx,
        (np.arange(camera.height)[:, None] - camera.cy) / camera.fy,
    )


def _optics_of(info: CameraInfoMessage, *, rectified: bool) -> tuple[float, float, float, float]:
    """Return fx, fy, cx and cy from P for rectified images, and from K for raw ones.

    Without distortion both are equal, and K replaces a P of zeros.
    """
    p, k = info.p, info.k
    if not rectified or (p[0] == 0 and not any(info.d)):
        return float(k[0]), float(k[4]), float(k[2]), float(k[5])
    return float(p[0]), float(p[5]), float(p[2]), float(p[6])


def _lens_of(info: CameraInfoMessage) -> Distortion | None:
    try:
        return read_distortion(info.distortion_model, info.d)
    except DistortionError as error:
        raise CalibrationError(str(error)) from error


def _check_size(width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise CalibrationError(
            f'camera_info is for an image of {width} x {height} pixels; {_REMEDY}'
        )


def _check_optics(fx: float, fy: float, cx: float, cy: float) -> None:
    if not (0 < fx < math.inf and 0 < fy < math.inf):
        raise CalibrationError(
            f'camera_info has focal lengths {fx:g} and {fy:g}, so the camera is '
            f'not calibrated; {_REMEDY}'
        )
    if not (math.isfinite(cx) and math.isfinite(cy)):
        raise CalibrationError(f'camera_info has its optical axis at ({cx:g}, {cy:g}); {_REMEDY}')


Window = tuple[slice, slice]


def bounding_window(mask: np.ndarray, margin: int = 0) -> Window:
    """Return the rows and columns around a mask (H, W) with at least one pixel, plus a margin."""
    return tuple(  # type: ignore[return-value]
        slice(max(0, int(there[0]) - margin), int(there[-1]) + 1 + margin)
        for there in (np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0)))
    )


def deproject_window(
    window: Window, depth: np.ndarray, pinhole: Pinhole, shape: tuple[int, ...]
) -> np.ndarray:
    """Return the points of the pixels in a window of an image.

    Args:
        window: Rows and columns of the image.
        depth: (h, w) m, NaN without depth, at any resolution (nearest pixel).
        pinhole: The camera, at any resolution.
        shape: (H, W) of the image.

    Returns:
        (rows, columns, 3) float32, m in the optical frame; NaN without depth, and for pixels that
        no ray reaches through the lens.

    Raises:
        FieldOfViewError: Depth or camera differ from the image in aspect ratio.
    """
    check_same_view(depth.shape, shape, 'the depth image')
    camera = pinhole.scaled(shape[1], shape[0])
    rows, columns = nearest(shape, depth.shape)
    z = depth[np.ix_(rows[window[0]], columns[window[1]])].astype(np.float32)
    x, y = camera.rays(*window)
    z = np.where(np.isnan(x), np.float32(np.nan), z)
    return np.stack([z * x, z * y, z], axis=-1)


def deproject(depth: np.ndarray, pinhole: Pinhole, mask: np.ndarray) -> np.ndarray:
    """Return the points of the pixels in a mask.

    Args:
        depth: (h, w) m along the optical axis, NaN without depth, of the same field of view as the
            mask at any resolution (nearest pixel).
        pinhole: The camera, at any resolution.
        mask: (H, W) bool.

    Returns:
        (H, W, 3) float32, m in the optical frame (x right, y down, z ahead); NaN outside the mask
        and without depth.

    Raises:
        FieldOfViewError: Depth or camera differ from the mask in aspect ratio.
    """
    points = np.full((*mask.shape, 3), np.nan, np.float32)
    if mask.any():
        window = bounding_window(mask)
        inside = mask[window]
        points[window][inside] = deproject_window(window, depth, pinhole, mask.shape)[inside]
    return points
