"""Rotations as ROS writes them: unit quaternions (x, y, z, w) and matrices."""

from __future__ import annotations

import numpy as np


def from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Return the (x, y, z, w) unit quaternion of a rotation matrix (3, 3)."""
    m = matrix
    # The largest component is known best; the others follow from it.
    squares = 1 + np.array(
        [
            m[0, 0] - m[1, 1] - m[2, 2],
            m[1, 1] - m[0, 0] - m[2, 2],
            m[2, 2] - m[0, 0] - m[1, 1],
            m.trace(),
        ]
    )
    products = np.array(
        [
            [squares[0], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], squares[1], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], squares[2], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], squares[3]],
        ]
    )
    best = products[int(squares.argmax())]
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


IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])


def turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the (x, y, z, w) quaternion of a rotation by `angle` radians about a unit axis."""
    return np.append(np.sin(angle / 2) * np.asarray(axis, float), np.cos(angle / 2))


def yaw(angle: float) -> np.ndarray:
    """Return the (x, y, z, w) quaternion of a rotation by `angle` radians about z."""
    return turn(np.array([0.0, 0.0, 1.0]), angle)


def compose(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the (x, y, z, w) quaternion that rotates by `b` first, then by `a`."""
    u, v = a[:3], b[:3]
    return np.append(a[3] * v + b[3] * u + np.cross(u, v), a[3] * b[3] - u @ v)
