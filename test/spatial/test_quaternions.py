from __future__ import annotations

import numpy as np

from instructseg_ros.spatial.quaternions import from_matrix, to_matrix


def test_a_rotation_matrix_comes_back_from_its_quaternion() -> None:
    quaternions = np.concatenate([np.random.default_rng(0).normal(size=(50, 4)), np.eye(4)])
    for quaternion in quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True):
        matrix = to_matrix(quaternion)
        again = from_matrix(matrix)
        assert np.allclose(matrix @ matrix.T, np.eye(3)) and np.linalg.det(matrix) > 0
        assert abs(again @ quaternion) > 1 - 1e-9 and np.allclose(to_matrix(again), matrix)


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    quarter = np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    assert np.allclose(to_matrix(quarter) @ [1, 0, 0], [0, 1, 0])
