from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from instructseg_ros.spatial.depth import FieldOfViewError
from instructseg_ros.spatial.pinhole import CalibrationError, Pinhole

K = [500.0, 0.0, 319.5, 0.0, 510.0, 239.5, 0.0, 0.0, 1.0]
P = [450.0, 0.0, 310.0, 0.0, 0.0, 460.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0]


D = [-0.3, 0.09, 0.0, 0.0, 0.0]


def info(**changes: object) -> SimpleNamespace:
    whole = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    return SimpleNamespace(
        **{
            'width': 640,
            'height': 480,
            'distortion_model': 'plumb_bob',
            'd': [0.0] * 5,
            'k': K,
            'p': P,
            'binning_x': 0,
            'binning_y': 0,
            'roi': whole,
            **changes,
        }
    )


def test_rectified_images_follow_p_and_raw_ones_k_and_d() -> None:
    rectified = Pinhole.from_camera_info(info(d=D), rectified=True)
    assert rectified == Pinhole(width=640, height=480, fx=450, fy=460, cx=310, cy=230)
    raw = Pinhole.from_camera_info(info(d=D), rectified=False)
    assert (raw.fx, raw.fy, raw.cx, raw.cy) == (500, 510, 319.5, 239.5)
    assert raw.lens is not None
    assert Pinhole.from_camera_info(info(), rectified=False).lens is None


def test_without_distortion_k_replaces_a_p_of_zeros() -> None:
    assert Pinhole.from_camera_info(info(p=[0.0] * 12), rectified=True).fx == 500
    with pytest.raises(CalibrationError, match='focal lengths 0 and 0'):
        Pinhole.from_camera_info(info(p=[0.0] * 12, d=D), rectified=True)


def test_an_unknown_distortion_refuses_raw_images_but_not_rectified_ones() -> None:
    unknown = info(distortion_model='omnidirectional', d=[0.1])
    with pytest.raises(CalibrationError, match='"omnidirectional", which is not supported'):
        Pinhole.from_camera_info(unknown, rectified=False)
    assert Pinhole.from_camera_info(unknown, rectified=True).fx == 450


@pytest.mark.parametrize('rectified', [True, False])
@pytest.mark.parametrize(
    'changes',
    [
        {'p': [0.0] * 12, 'k': [0.0] * 9},
        {'p': [float('nan')] * 12, 'k': [float('nan')] * 9},
        {
            'p': [450.0, 0.0, 310.0, 0.0, 0.0, float('inf'), *P[6:]],
            'k': [*K[:4], float('inf'), *K[5:]],
        },
        {'p': [450.0, 0.0, float('nan'), *P[3:]], 'k': [500.0, 0.0, float('nan'), *K[3:]]},
        {'width': 0},
        {'height': 0},
        {'binning_x': 1000},
        {'binning_y': 481},
        {'roi': SimpleNamespace(x_offset=300, y_offset=0, width=400, height=320)},
    ],
)
def test_a_camera_that_is_not_calibrated_is_refused_with_a_remedy(
    changes: dict, rectified: bool
) -> None:
    with pytest.raises(CalibrationError, match='calibrate the camera, or let the driver publish'):
        Pinhole.from_camera_info(info(**changes), rectified=rectified)


@pytest.mark.parametrize(('width', 'height'), [(1280, 720), (480, 640), (640, 400), (848, 480)])
def test_an_image_of_another_aspect_ratio_is_refused(width: int, height: int) -> None:
    camera = Pinhole.from_camera_info(info(), rectified=False)
    with pytest.raises(FieldOfViewError, match='camera_info is for 640 x 480 pixels and the image'):
        camera.scaled(width, height)


@pytest.mark.parametrize(('width', 'height'), [(320, 240), (213, 160), (1279, 959), (1, 1)])
def test_rounded_sizes_have_the_same_field_of_view(width: int, height: int) -> None:
    assert Pinhole.from_camera_info(info(), rectified=False).scaled(width, height).width == width


def test_region_of_interest_and_binning_keep_the_directions_of_pixels() -> None:
    point = np.array([0.1, -0.2, 1.5])
    column, row = Pinhole.from_camera_info(info(), rectified=True).project(point)
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=320)
    part = Pinhole.from_camera_info(info(roi=roi), rectified=True)
    assert (part.width, part.height) == (400, 320)
    assert part.project(point) == pytest.approx([column - 100, row - 40])
    binned = Pinhole.from_camera_info(info(roi=roi, binning_x=2, binning_y=4), rectified=True)
    assert (binned.width, binned.height) == (200, 80)
    assert binned.project(point) == pytest.approx(
        [(column - 99.5) / 2 - 0.5, (row - 39.5) / 4 - 0.5]
    )


def test_a_scaled_camera_keeps_its_field_of_view() -> None:
    camera = Pinhole.from_camera_info(info(), rectified=True)
    half = camera.scaled(320, 240)
    assert (half.width, half.height, half.fx, half.fy) == (320, 240, 225, 230)
    again = half.scaled(640, 480)
    assert (again.cx, again.cy, again.fx) == pytest.approx((camera.cx, camera.cy, camera.fx))
    assert camera.scaled(640, 480) is camera


def test_region_of_interest_and_binning_keep_the_directions_behind_a_lens() -> None:
    point = np.array([0.3, -0.2, 0.8])
    column, row = Pinhole.from_camera_info(info(d=D), rectified=False).project(point)
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=540, height=440)
    binned = Pinhole.from_camera_info(info(d=D, roi=roi, binning_x=2, binning_y=2), rectified=False)
    assert (binned.width, binned.height) == (270, 220)
    assert binned.project(point) == pytest.approx(
        [(column - 99.5) / 2 - 0.5, (row - 39.5) / 2 - 0.5]
    )
    x, y = binned.rays(slice(0, 220), slice(0, 270))
    place = binned.project(np.stack([x, y, np.ones_like(x)], -1))
    columns, rows = np.meshgrid(np.arange(270), np.arange(220))
    assert np.allclose(place, np.stack([columns, rows], -1), atol=1e-3)


def test_a_camera_caches_its_rays_and_a_few_other_resolutions() -> None:
    camera = Pinhole.from_camera_info(info(d=D), rectified=False)
    half = camera.scaled(320, 240)
    x, _ = half.rays(slice(0, 240), slice(0, 320))
    again, _ = camera.scaled(320, 240).rays(slice(0, 240), slice(0, 320))
    assert np.shares_memory(x, again)
    for factor in range(2, 10):
        camera.scaled(64 * factor, 48 * factor)
    assert camera.scaled(320, 240) is not half
