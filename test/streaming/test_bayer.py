from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.streaming.encodings import BAYER_CODES, bayer_to_rgb


@pytest.mark.parametrize('pattern', BAYER_CODES)
@pytest.mark.parametrize('channel', [0, 1, 2])
def test_an_image_of_one_color_stays_of_that_color(pattern: str, channel: int) -> None:
    mosaic = np.zeros((6, 8), np.uint8)
    for position, letter in enumerate(pattern):
        if letter == 'rgb'[channel]:
            y, x = divmod(position, 2)
            mosaic[y::2, x::2] = 200
    rgb = bayer_to_rgb(mosaic, pattern)
    assert (rgb[..., channel] == 200).all()
    assert not np.delete(rgb, channel, axis=2).any()


def test_a_missing_color_is_the_mean_of_its_neighbours() -> None:
    mosaic = np.array(
        [[10, 20, 30, 40], [50, 60, 70, 80], [90, 100, 110, 120], [130, 140, 150, 160]], np.uint8
    )
    rgb = bayer_to_rgb(mosaic, 'rggb')
    assert rgb[0, 0, 0] == 10
    assert rgb[0, 1, 0] == (10 + 30) // 2
    assert rgb[1, 1, 0] == (10 + 30 + 90 + 110) // 4
    assert rgb[1, 0, 0] == (10 + 90) // 2
    assert rgb[1, 1, 1] == (20 + 50 + 70 + 100) // 4
    assert rgb[2, 2, 2] == (60 + 80 + 140 + 160) // 4
    assert rgb[1, 1, 2] == 60


def test_at_the_border_the_samples_inside_are_used() -> None:
    mosaic = np.array([[10, 20], [50, 60]], np.uint8)
    rgb = bayer_to_rgb(mosaic, 'rggb')
    assert (rgb[..., 0] == 10).all() and (rgb[..., 2] == 60).all()
    assert set(rgb[..., 1].ravel()) <= {20, 35, 50}


@pytest.mark.parametrize('pattern', BAYER_CODES)
def test_the_pattern_continues_beyond_the_border(pattern: str) -> None:
    mosaic = np.random.default_rng(0).integers(0, 256, (6, 10), np.uint8)
    inside = bayer_to_rgb(np.pad(mosaic, 2, mode='reflect'), pattern)[2:-2, 2:-2]
    np.testing.assert_array_equal(bayer_to_rgb(mosaic, pattern), inside)
