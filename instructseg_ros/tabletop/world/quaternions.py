"""Unit quaternions (w, x, y, z) and rotation matrices."""

from __future__ import annotations

import numpy as np

IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


def turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """The quaternion of a turn by `angle` radians about a unit axis."""
    return np.concatenate([[np.cos(angle / 2)], np.sin(angle / 2) * np.asarray(axis, float)])


def yaw(angle: float) -> np.ndarray:
    """The quaternion of a turn about z."""
    return turn(np.array([0.0, 0.0, 1.0]), angle)


def compose(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The quaternion of turning by `b` first, then by `a`."""
    w = a[0] * b[0] - a[1:] @ b[1:]
    return np.concatenate([[w], a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])])


def to_matrix(q: np.ndarray) -> np.ndarray:
    """The 3x3 rotation matrix of a unit quaternion."""
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def from_matrix(m: np.ndarray) -> np.ndarray:
    """The unit quaternion of a 3x3 rotation matrix."""
    w = np.sqrt(max(0.0, 1 + m[0, 0] + m[1, 1] + m[2, 2])) / 2
    x = np.sqrt(max(0.0, 1 + m[0, 0] - m[1, 1] - m[2, 2])) / 2
    y = np.sqrt(max(0.0, 1 - m[0, 0] + m[1, 1] - m[2, 2])) / 2
    z = np.sqrt(max(0.0, 1 - m[0, 0] - m[1, 1] + m[2, 2])) / 2
    q = np.array(
        [
            w,
            np.copysign(x, m[2, 1] - m[1, 2]),
            np.copysign(y, m[0, 2] - m[2, 0]),
            np.copysign(z, m[1, 0] - m[0, 1]),
        ]
    )
    return q / np.linalg.norm(q)
