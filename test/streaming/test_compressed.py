from __future__ import annotations

import io
from array import array

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.streaming import image_files
from instructseg_ros.streaming.encodings import BitDepth, ConversionError
from instructseg_ros.streaming.image_files import decode_compressed

RGB = np.zeros((16, 24, 3), np.uint8)
RGB[:8, :, 0] = 220
RGB[8:, :, 2] = 120


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize('container', [bytes, lambda data: array('B', data), memoryview])
@pytest.mark.parametrize('format', ['png', 'bgr8; png compressed ', 'rgb8; png compressed bgr8'])
def test_a_png_is_decoded_exactly(format: str, container: type) -> None:
    np.testing.assert_array_equal(decode_compressed(container(encoded(RGB, 'PNG')), format), RGB)


@pytest.mark.parametrize('format', ['jpeg', 'jpg', 'bgr8; jpeg compressed bgr8', ''])
def test_a_jpeg_is_decoded_closely(format: str) -> None:
    assert np.abs(decode_compressed(encoded(RGB, 'JPEG'), format).astype(int) - RGB).max() < 60


def test_gray_becomes_rgb_with_the_upper_eight_of_16_bits() -> None:
    gray = np.arange(192, 256, dtype=np.uint8).reshape(8, 8)
    for pixels in (gray, gray.astype(np.uint16) * 256 + 99):
        rgb = decode_compressed(encoded(pixels, 'PNG'), 'mono8; png compressed ')
        np.testing.assert_array_equal(rgb, np.stack([gray] * 3, -1))


def test_a_bayer_mosaic_becomes_rgb() -> None:
    mosaic = np.zeros((4, 4), np.uint8)
    mosaic[0::2, 0::2] = 200
    rgb = decode_compressed(encoded(mosaic, 'PNG'), 'bayer_rggb8; png compressed ')
    assert (rgb[..., 0] == 200).all() and not rgb[..., 1:].any()


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'GIF89a' + bytes(50),
        encoded(RGB, 'PNG')[:60],
        encoded(RGB, 'JPEG')[:-40],
        encoded(RGB, 'GIF'),
        bytes(1000),
    ],
)
def test_anything_but_a_complete_jpeg_or_png_is_refused(data: bytes) -> None:
    with pytest.raises(ConversionError, match='are no complete JPEG or PNG'):
        decode_compressed(data, 'jpeg')


def test_the_bit_depth_of_a_camera_is_inferred_from_its_frames() -> None:
    gray, bits = np.arange(192, 256, dtype=np.uint16).reshape(8, 8), BitDepth()
    for pixels in (gray * 16, gray * 4):  # of 12 bits, the second darker
        rgb = decode_compressed(encoded(pixels, 'PNG'), 'mono16; png compressed ', bits)
        np.testing.assert_array_equal(rgb[..., 0], pixels >> 4)


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_a_png_of_depth_or_infrared_is_refused_with_both_remedies(encoding: str) -> None:
    gray = np.full((8, 8), 900, np.uint16)
    with pytest.raises(ConversionError, match='infrared, publish it as mono16'):
        decode_compressed(encoded(gray, 'PNG'), f'{encoding}; png compressed ')


def test_compressed_depth_is_refused() -> None:
    with pytest.raises(ConversionError, match='is depth'):
        decode_compressed(encoded(RGB, 'PNG'), '16UC1; compressedDepth')


def test_a_huge_image_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, 'MAX_MESSAGE_PIXELS', 100)
    with pytest.raises(ConversionError, match='24 x 16 pixels, more than'):
        decode_compressed(encoded(RGB, 'PNG'), 'png')


def test_the_same_damage_is_always_refused_in_the_same_words() -> None:
    reasons = set()
    for _ in range(3):
        with pytest.raises(ConversionError) as refused:
            decode_compressed(b'no image', 'jpeg')
        reasons.add(str(refused.value))
    assert reasons == {
        '8 bytes of format "jpeg" are no complete JPEG or PNG; check the camera driver'
    }
