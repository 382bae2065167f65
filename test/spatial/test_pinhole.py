from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from instructseg_ros.spatial.pinhole import CalibrationError, Pinhole

K = [500.0, 0.0, 319.5, 0.0, 510.0, 239.5, 0.0, 0.0, 1.0]
P = [450.0, 0.0, 310.0, 0.0, 0.0, 460.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def info(**changes: object) -> SimpleNamespace:
    whole = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    return SimpleNamespace(**{'width': 640, 'height': 480, 'k': K, 'p': P, 'binning_x': 0,
                              'binning_y': 0, 'roi': whole, **changes})


def test_rectified_images_follow_p_and_others_k() -> None:
    assert Pinhole.of(info()) == Pinhole(width=640, height=480, fx=450, fy=460, cx=310, cy=230)
    assert Pinhole.of(info(p=[0.0] * 12)) == Pinhole(
        width=640, height=480, fx=500, fy=510, cx=319.5, cy=239.5)


@pytest.mark.parametrize('changes', [
    {'p': [0.0] * 12, 'k': [0.0] * 9},
    {'p': [float('nan')] * 12, 'k': [float('nan')] * 9},
    {'p': [450.0, 0.0, 310.0, 0.0, 0.0, float('inf'), *P[6:]]},
    {'p': [450.0, 0.0, float('nan'), *P[3:]]},
    {'width': 0},
    {'height': 0},
    {'binning_x': 1000},
    {'binning_y': 481},
])
def test_a_camera_that_is_not_calibrated_is_refused_with_a_remedy(changes: dict) -> None:
    with pytest.raises(CalibrationError, match='calibrate the camera, or let the driver publish'):
        Pinhole.of(info(**changes))


def test_a_part_of_the_sensor_and_binned_pixels_see_the_same_directions() -> None:
    point = np.array([0.1, -0.2, 1.5])
    column, row = Pinhole.of(info()).project(point)
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=320)
    part = Pinhole.of(info(roi=roi))
    assert (part.width, part.height) == (400, 320)
    assert part.project(point) == pytest.approx([column - 100, row - 40])
    binned = Pinhole.of(info(roi=roi, binning_x=2, binning_y=4))
    assert (binned.width, binned.height) == (200, 80)
    assert binned.project(point) == pytest.approx(
        [(column - 99.5) / 2 - 0.5, (row - 39.5) / 4 - 0.5])


def test_a_scaled_camera_keeps_its_field_of_view() -> None:
    camera = Pinhole.of(info())
    half = camera.scaled(320, 240)
    assert (half.width, half.height, half.fx, half.fy) == (320, 240, 225, 230)
    again = half.scaled(640, 480)
    assert (again.cx, again.cy, again.fx) == pytest.approx((camera.cx, camera.cy, camera.fx))
    assert camera.scaled(640, 480) is camera
