from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.spatial.box import around


@pytest.mark.parametrize('angle', np.deg2rad([0, 20, 77, 140]))
def test_a_rectangle_is_found_at_any_angle(angle: float) -> None:
    flat = np.random.default_rng(0).uniform([-0.1, -0.04], [0.1, 0.04], (4000, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = around(flat @ turn.T + [1.0, 2.0], 0.001)
    assert found.size == pytest.approx([0.2, 0.08], abs=0.006)
    assert found.center == pytest.approx([1.0, 2.0], abs=0.002)
    assert abs(np.sin(found.angle - angle)) < 0.05


@pytest.mark.parametrize('angle', np.deg2rad([10, 50, 120]))
def test_it_lies_along_the_handle_of_a_round_thing(angle: float) -> None:
    around_it = np.linspace(0, 2 * np.pi, 2000)
    body = 0.042 * np.column_stack([np.cos(around_it), np.sin(around_it)])
    handle = np.random.default_rng(0).uniform([0.04, -0.006], [0.076, 0.006], (300, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = around(np.concatenate([body, handle]) @ turn.T, 0.0)
    assert found.size == pytest.approx([0.118, 0.084], rel=0.03)
    assert abs(np.sin(found.angle - angle)) < 0.1


def test_a_share_of_the_points_may_lie_beyond_each_side() -> None:
    flat = np.random.default_rng(0).uniform([-0.1, -0.04], [0.1, 0.04], (4000, 2))
    flat[:10] = [0.0, 5.0]
    assert around(flat, 0.005).size == pytest.approx([0.2, 0.08], abs=0.006)
