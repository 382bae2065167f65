from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.streaming.encodings import packed_to_rgb, planar_to_rgb

# Y, U, V of BT.601 and the colours that they are.
KNOWN = [
    ((16, 128, 128), (0, 0, 0)),
    ((235, 128, 128), (255, 255, 255)),
    ((81, 90, 240), (254, 0, 0)),
    ((145, 54, 34), (0, 255, 1)),
    ((41, 240, 110), (0, 0, 255)),
]


@pytest.mark.parametrize(('yuv', 'rgb'), KNOWN)
def test_known_colours_come_out(yuv: tuple[int, int, int], rgb: tuple[int, int, int]) -> None:
    y, u, v = yuv
    yuy2 = np.array([[[y, u], [y, v]]], np.uint8)
    for pixels in (
        packed_to_rgb(yuy2, luma_first=True),
        packed_to_rgb(yuy2[..., ::-1], luma_first=False),
    ):
        assert np.abs(pixels[0].astype(int) - rgb).max() <= 1
    luma, chroma = np.full((2, 2), y, np.uint8), np.array([[[u, v]]], np.uint8)
    for pixels in (
        planar_to_rgb(luma, chroma, u_first=True),
        planar_to_rgb(luma, chroma[..., ::-1], u_first=False),
    ):
        assert np.abs(pixels.reshape(-1, 3).astype(int) - rgb).max() <= 1


def test_values_out_of_range_are_clipped() -> None:
    extremes = np.array([[[255, 255], [0, 0]]], np.uint8)
    assert packed_to_rgb(extremes, luma_first=True).min() == 0
    assert packed_to_rgb(extremes, luma_first=True).max() == 255


def test_chroma_belongs_to_its_own_pixels() -> None:
    chroma = np.full((2, 3, 2), 128, np.uint8)
    chroma[1, 2] = (90, 240)
    rgb = planar_to_rgb(np.full((4, 6), 81, np.uint8), chroma, u_first=True)
    is_red = (rgb == rgb[3, 5]).all(-1)
    assert is_red[2:, 4:].all() and is_red.sum() == 4
