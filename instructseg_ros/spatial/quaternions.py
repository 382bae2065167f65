"""Quaternions as ROS writes them, (x, y, z, w), and rotation matrices."""

from __future__ import annotations

from typing import Final

import numpy as np

IDENTITY: Final = np.array([0.0, 0.0, 0.0, 1.0])


def from_axis_angle(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the (x, y, z, w) quaternion of a rotation by `angle` radians about a unit axis."""
    return np.append(np.sin(angle / 2) * np.asarray(axis, float), np.cos(angle / 2))


def yaw(angle: float) -> np.ndarray:
    """Return the (x, y, z, w) quaternion of a rotation by `angle` radians about z."""
    return from_axis_angle(np.array([0.0, 0.0, 1.0]), angle)


def from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Return the (x, y, z, w) unit quaternion of a rotation matrix (3, 3)."""
    m = matrix
    squares = 1 + np.array(
        [
            m[0, 0] - m[1, 1] - m[2, 2],
            m[1, 1] - m[0, 0] - m[2, 2],
            m[2, 2] - m[0, 0] - m[1, 1],
            m.trace(),
        ]
    )
    xy, xz, yz = m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] + m[1, 2]
    xw, yw, zw = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    # Each row is a multiple of the quaternion. The row of its largest component is most accurate.
    rows = np.array([[0, xy, xz, xw], [xy, 0, yz, yw], [xz, yz, 0, zw], [xw, yw, zw, 0]])
    best = (rows + np.diag(squares))[int(squares.argmax())]
    return best / np.linalg.norm(best)


def to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Return the rotation matrix (3, 3) of an (x, y, z, w) unit quaternion."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def multiply(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the (x, y, z, w) quaternion of the second rotation followed by the first."""
    (v, w), (u, s) = (first[:3], first[3]), (second[:3], second[3])
    return np.append(w * u + s * v + np.cross(v, u), w * s - v @ u)


def rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return an (x, y, z) vector rotated by an (x, y, z, w) unit quaternion."""
    v, w = quaternion[:3], quaternion[3]
    return vector + 2.0 * np.cross(v, np.cross(v, vector) + w * vector)
