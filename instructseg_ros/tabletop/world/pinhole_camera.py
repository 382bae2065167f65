"""The pinhole camera: intrinsics, pose over the table, projection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ASPECT = 4.0 / 3.0


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """Pinhole intrinsics in pixels; pixel centres lie at whole numbers."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera over the table: `fovy` in degrees for a 4:3 image.

    `rotation` turns optical-frame vectors (x right, y down, z ahead) into the table's frame (z up);
    `position` is in metres in the table's frame.
    """

    position: np.ndarray
    rotation: np.ndarray
    fovy: float

    def vertical_view(self, width: int, height: int) -> float:
        """Degrees from top to bottom; an image narrower than 4:3 keeps the width of the view."""
        wider = max(1.0, ASPECT * height / width)
        return float(np.rad2deg(2 * np.arctan(np.tan(np.deg2rad(self.fovy) / 2) * wider)))

    def intrinsics(self, width: int, height: int) -> Intrinsics:
        """The intrinsics of an image of that size."""
        focal = 0.5 * height / np.tan(np.deg2rad(self.vertical_view(width, height)) / 2)
        return Intrinsics(
            fx=focal, fy=focal, cx=(width - 1) / 2, cy=(height - 1) / 2, width=width, height=height
        )

    def to_optical(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the table's frame in the optical frame."""
        return (points - self.position) @ self.rotation

    def table_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors on the table: rightwards and away, as the camera sees them."""
        right = self.rotation[:, 0] * np.array([1.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        return right, np.array([-right[1], right[0], 0.0])


def project(points: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Pixels (..., 2) of optical-frame points (..., 3) in metres."""
    z = np.maximum(points[..., 2], 1e-6)
    u = intrinsics.fx * points[..., 0] / z + intrinsics.cx
    v = intrinsics.fy * points[..., 1] / z + intrinsics.cy
    return np.stack([u, v], -1)


def looking_at(
    target: np.ndarray,
    *,
    distance: float,
    azimuth: float,
    elevation: float,
    roll: float,
    fovy: float,
) -> Camera:
    """A camera `distance` metres from `target`; angles in radians, fovy in degrees."""
    level = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    ahead = np.cos(elevation) * level - np.sin(elevation) * np.array([0.0, 0.0, 1.0])
    right = np.array([level[1], -level[0], 0.0])
    down = np.cross(ahead, right)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.stack([c * right + s * down, c * down - s * right, ahead], axis=1)
    return Camera(position=target - distance * ahead, rotation=rotation, fovy=fovy)
