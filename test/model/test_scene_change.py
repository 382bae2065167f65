from __future__ import annotations

import warnings

import numpy as np
import pytest

from instructseg_ros.model.video_stream import MIN_CHANGE, changed_share, thumbnail


def grey(height: int = 48, width: int = 64, value: int = 100) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def share(first: np.ndarray, second: np.ndarray) -> float:
    return changed_share(thumbnail(first), thumbnail(second))


def test_a_picture_did_not_change_from_itself() -> None:
    assert share(grey(), grey()) == 0.0


def test_another_picture_changed_all_over() -> None:
    assert share(grey(value=20), grey(value=220)) == 1.0
    assert share(grey(value=220), grey(value=20)) == 1.0


def test_the_share_is_that_of_the_area() -> None:
    other = grey()
    other[:, :16] = 200
    assert share(grey(), other) == pytest.approx(0.25)


def test_one_channel_is_enough() -> None:
    other = grey()
    other[..., 2] = 200
    assert share(grey(), other) == 1.0


def test_noise_of_a_camera_is_no_change() -> None:
    noise = np.random.default_rng(0).integers(-MIN_CHANGE // 2, MIN_CHANGE // 2, grey().shape)
    assert share(grey(), (grey() + noise).astype(np.uint8)) == 0.0
    assert share(grey(), grey(value=100 + MIN_CHANGE)) == 0.0
    assert share(grey(), grey(value=100 + MIN_CHANGE + 1)) == 1.0


def test_pictures_of_different_shapes_changed_all_over() -> None:
    assert share(grey(48, 64), grey(64, 64)) == 1.0


@pytest.mark.parametrize(('height', 'width'), [(480, 640), (1080, 1920), (720, 1280)])
def test_a_thumbnail_is_small_whatever_the_picture(height: int, width: int) -> None:
    rows, columns, channels = thumbnail(grey(height, width)).shape
    assert 60 <= columns <= 70
    assert rows == pytest.approx(columns * height / width, abs=2)
    assert channels == 3


def test_a_thumbnail_does_not_keep_its_picture() -> None:
    image = grey(480, 640)
    seen = thumbnail(image)
    image[:] = 0
    assert (seen == 100).all()


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (12, 16), (3, 640), (640, 3)])
def test_odd_pictures_are_compared_as_well(height: int, width: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert share(grey(height, width, 20), grey(height, width, 220)) == 1.0
