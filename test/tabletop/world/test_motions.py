from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.tabletop.world.scene import EllipseMotion, ShuttleMotion, direction, velocity

X, Y, Z = np.eye(3)


def _shuttle(*, along: np.ndarray = X, roll: float | None = None) -> ShuttleMotion:
    return ShuttleMotion(
        manner='pushed',
        direction=along,
        length=0.2,
        there=0.1,
        back=0.1,
        rest=0.5,
        phase=0.0,
        roll=roll,
    )


def test_a_shuttle_goes_rests_and_returns() -> None:
    motion = _shuttle()
    reached = [motion.offset(t)[0] for t in (0.0, 1.0, 2.2, 3.5, 4.8, 5.0)]
    assert reached == pytest.approx([0.0, 0.1, 0.2, 0.1, 0.0, 0.0])


def test_motion_is_periodic_also_before_time_zero() -> None:
    motion = _shuttle()
    assert np.allclose(motion.offset(1.3 - 5.0), motion.offset(1.3))
    assert np.allclose(motion.offset(1.3 + 500.0), motion.offset(1.3))


def test_the_sweep_covers_all_that_is_reached() -> None:
    loop = EllipseMotion(manner='path', first=0.1 * X, second=0.07 * Y, period=4.0, phase=0.3)
    for motion in (_shuttle(), loop):
        for time in np.linspace(0.0, 9.0, 100):
            apart = np.linalg.norm(motion.sweep() - motion.offset(time), axis=1)
            assert apart.min() < 0.015


def test_a_rolling_object_turns_by_its_way_over_its_radius() -> None:
    quaternion = _shuttle(roll=0.05).rotation(1.0)
    assert quaternion == pytest.approx([0.0, np.sin(1.0), 0.0, np.cos(1.0)])


@pytest.mark.parametrize(
    ('moved', 'name'),
    [
        (0.1 * X, 'right'),
        (-0.1 * X, 'left'),
        (0.1 * Y, 'away'),
        (-0.1 * Y, 'towards'),
        (0.1 * Z, 'up'),
        (-0.1 * Z, None),
        (0.01 * X, None),
        (0.1 * X + 0.06 * Y, 'right'),
    ],
)
def test_the_dominant_direction_is_named(moved: np.ndarray, name: str | None) -> None:
    assert direction(moved, X, Y) == name


def test_velocity_is_the_mean_over_a_time() -> None:
    assert velocity(_shuttle(), 1.0) == pytest.approx([0.1, 0.0, 0.0])
    assert velocity(_shuttle(), 0.1, over=0.2) == pytest.approx([0.05, 0.0, 0.0])
