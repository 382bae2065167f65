from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from instructseg_ros.streaming.encodings import decode_image

# Y, U, V of BT.601, and the same colors in RGB.
KNOWN = [
    ((16, 128, 128), (0, 0, 0)),
    ((235, 128, 128), (255, 255, 255)),
    ((81, 90, 240), (254, 0, 0)),
    ((145, 54, 34), (0, 255, 1)),
    ((41, 240, 110), (0, 0, 255)),
]


def decode(rows: np.ndarray, encoding: str, *, height: int, width: int) -> np.ndarray:
    """Decode a message of rows of bytes without padding, to integers."""
    message = SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1],
        data=rows.tobytes(),
    )
    return decode_image(message).astype(int)


@pytest.mark.parametrize(('yuv', 'rgb'), KNOWN)
def test_known_colors_are_decoded(yuv: tuple[int, int, int], rgb: tuple[int, int, int]) -> None:
    y, u, v = yuv
    for encoding, row in (('yuyv', [y, u, y, v]), ('uyvy', [u, y, v, y])):
        pixels = decode(np.array([row], np.uint8), encoding, height=1, width=2)
        assert np.abs(pixels - rgb).max() <= 1
    for encoding, chroma in (('nv12', [u, v]), ('nv21', [v, u])):
        rows = np.array([[y, y], [y, y], chroma], np.uint8)
        assert np.abs(decode(rows, encoding, height=2, width=2) - rgb).max() <= 1


def test_every_color_is_that_of_the_standard() -> None:
    steps = np.arange(16, 256, 3)
    y, u, v = (each.ravel().astype(np.uint8) for each in np.meshgrid(steps, steps, steps))
    pixels = decode(np.stack([y, u, y, v], -1), 'yuyv', height=len(y), width=2)[:, 0]
    luma, blue, red = 255 / 219 * (y - 16.0), u - 128.0, v - 128.0
    scale = 255 / 224
    exact = [
        luma + 1.402 * scale * red,
        luma - 0.344136 * scale * blue - 0.714136 * scale * red,
        luma + 1.772 * scale * blue,
    ]
    assert np.abs(pixels - np.stack(exact, -1).clip(0, 255)).max() <= 1


def test_values_out_of_range_are_clipped() -> None:
    pixels = decode(np.array([[255, 255, 0, 0]], np.uint8), 'yuyv', height=1, width=2)
    assert pixels.min() == 0 and pixels.max() == 255


def test_chroma_belongs_to_its_own_pixels() -> None:
    chroma = np.full((2, 3, 2), 128, np.uint8)
    chroma[1, 2] = (90, 240)
    rows = np.concatenate([np.full((4, 6), 81, np.uint8), chroma.reshape(2, 6)])
    rgb = decode(rows, 'nv12', height=4, width=6)
    is_red = (rgb == rgb[3, 5]).all(-1)
    assert is_red[2:, 4:].all() and is_red.sum() == 4
