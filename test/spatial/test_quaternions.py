from __future__ import annotations

import itertools

import numpy as np

from instructseg_ros.spatial.quaternions import from_matrix, multiply, rotate


def to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """(3, 3), whose columns are the rotated axes."""
    return np.stack([rotate(quaternion, axis) for axis in np.eye(3)], axis=1)


def unit_quaternions() -> np.ndarray:
    quaternions = np.concatenate([np.random.default_rng(0).normal(size=(50, 4)), np.eye(4)])
    return quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)


def test_a_rotation_matrix_comes_back_from_its_quaternion() -> None:
    for quaternion in unit_quaternions():
        matrix = to_matrix(quaternion)
        again = from_matrix(matrix)
        assert np.allclose(matrix @ matrix.T, np.eye(3)) and np.linalg.det(matrix) > 0
        assert abs(again @ quaternion) > 1 - 1e-9 and np.allclose(to_matrix(again), matrix)


def test_a_product_rotates_by_the_second_and_then_by_the_first() -> None:
    quaternions = unit_quaternions()
    for first, second in itertools.pairwise(quaternions):
        product = to_matrix(multiply(first, second))
        assert np.allclose(product, to_matrix(first) @ to_matrix(second))


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    quarter = np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    assert np.allclose(rotate(quarter, np.array([1.0, 0, 0])), [0, 1, 0])
