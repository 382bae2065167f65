from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from instructseg_ros.streaming.encodings import ENCODINGS, ConversionError, decode_image

SMOOTH = (
    np.stack(np.meshgrid(np.linspace(60, 200, 16), np.linspace(90, 160, 12)), -1)
    .round()
    .astype(np.uint8)
)
PICTURE = np.concatenate([SMOOTH, np.full((12, 16, 1), 120, np.uint8)], -1)


def message(
    rows: np.ndarray, encoding: str, *, height: int, width: int, padding: int = 0, **fields: Any
) -> Any:
    """A message of rows of bytes, with garbage behind each of them."""
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=211)
    return SimpleNamespace(
        **{
            'height': height,
            'width': width,
            'encoding': encoding,
            'is_bigendian': 0,
            'step': padded.shape[1],
            'data': padded.tobytes(),
            **fields,
        }
    )


def yuv_of(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) YUV of BT.601 in its limited range, by the equations of the standard."""
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    luma = 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255
    u = 128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255
    v = 128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255
    return np.stack([luma, u, v], -1).round().astype(np.uint8)


def packed(rgb: np.ndarray, order: str) -> np.ndarray:
    yuv = yuv_of(rgb)
    pieces = {
        'y': yuv[:, 0::2, 0],
        'Y': yuv[:, 1::2, 0],
        'u': yuv[:, 0::2, 1],
        'v': yuv[:, 0::2, 2],
    }
    return np.stack([pieces[letter] for letter in order], -1).reshape(len(rgb), -1)


def planes(rgb: np.ndarray, order: str) -> np.ndarray:
    yuv = yuv_of(rgb)
    chroma = yuv[0::2, 0::2, [1, 2] if order == 'uv' else [2, 1]]
    return np.concatenate([yuv[..., 0], chroma.reshape(len(rgb) // 2, -1)])


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """Each pixel's own colour, by the pattern's colours in reading order."""
    out = np.empty(rgb.shape[:2], np.uint8)
    for position, letter in enumerate(pattern):
        y, x = divmod(position, 2)
        out[y::2, x::2] = rgb[y::2, x::2, 'rgb'.index(letter)]
    return out


ROWS = {
    'yuv422_yuy2': packed(PICTURE, 'yuYv'),
    'yuyv': packed(PICTURE, 'yuYv'),
    'uyvy': packed(PICTURE, 'uyvY'),
    'yuv422': packed(PICTURE, 'uyvY'),
    'nv12': planes(PICTURE, 'uv'),
    'nv21': planes(PICTURE, 'vu'),
    **{
        f'bayer_{pattern}8': mosaic(PICTURE, pattern)
        for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')
    },
}


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('encoding', ROWS)
def test_a_smooth_image_survives_every_encoding(encoding: str, padding: int) -> None:
    rgb = decode_image(message(ROWS[encoding], encoding, height=12, width=16, padding=padding))
    assert (rgb.shape, rgb.dtype) == (PICTURE.shape, np.uint8)
    assert np.abs(rgb.astype(int) - PICTURE).max() <= 12


@pytest.mark.parametrize('is_bigendian', [0, 1])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_the_upper_eight_of_16_bits_are_kept(pattern: str, is_bigendian: int) -> None:
    eight = mosaic(PICTURE, pattern)
    sixteen = (eight.astype(np.uint16) * 256 + 77).astype('>u2' if is_bigendian else '<u2')
    rows = sixteen.view(np.uint8)
    rgb = decode_image(
        message(rows, f'bayer_{pattern}16', height=12, width=16, is_bigendian=is_bigendian)
    )
    plain = decode_image(message(eight, f'bayer_{pattern}8', height=12, width=16))
    np.testing.assert_array_equal(rgb, plain)


@pytest.mark.parametrize('encoding', ['yuyv', 'nv12', 'bayer_rggb8'])
def test_an_odd_width_is_refused_for_encodings_of_pixel_pairs(encoding: str) -> None:
    with pytest.raises(ConversionError, match=f'width is 15, but {encoding} needs an even one'):
        decode_image(message(np.zeros((18, 30), np.uint8), encoding, height=12, width=15))


def test_a_planar_image_without_all_its_chroma_is_refused() -> None:
    with pytest.raises(ConversionError, match='data has 272 bytes, but 18 rows of step 16'):
        decode_image(message(ROWS['nv12'][:17], 'nv12', height=12, width=16))


@pytest.mark.parametrize('encoding', ['mono16', 'bayer_rggb16'])
@pytest.mark.parametrize('sensor', [10, 12, 14, 16])
def test_a_sensor_of_fewer_bits_is_as_bright_as_one_of_16(sensor: int, encoding: str) -> None:
    eight = np.linspace(0, 255, 12 * 16).round().astype(np.uint16).reshape(12, 16)
    rows = (eight << (sensor - 8)).astype('<u2').view(np.uint8)
    rgb = decode_image(message(rows, encoding, height=12, width=16))
    plain = decode_image(
        message(eight.astype(np.uint8), encoding.replace('16', '8'), height=12, width=16)
    )
    np.testing.assert_array_equal(rgb, plain)


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_possible_depth_or_infrared_is_refused_with_both_remedies(encoding: str) -> None:
    infrared = message(np.zeros((12, 64), np.uint8), encoding, height=12, width=16)
    with pytest.raises(ConversionError) as refusal:
        decode_image(infrared)
    assert 'may be depth or infrared' in str(refusal.value)
    assert 'publish it on depth/image' in str(refusal.value)
    assert 'publish it as mono16' in str(refusal.value)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_the_smallest_image_of_every_encoding_is_read(encoding: str) -> None:
    rgb = decode_image(message(np.full((3, 8), 128, np.uint8), encoding, height=2, width=2))
    assert rgb.shape == (2, 2, 3)
