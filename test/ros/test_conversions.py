from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from instructseg_ros.ros.messages import (
    ConversionError,
    array_to_image,
    image_to_rgb,
    mask_to_image,
)

RGB = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
GRAY = RGB[..., 0]
ALPHA = np.full((4, 5, 1), 255, np.uint8)


def message(pixels: np.ndarray, encoding: str, /, *, padding: int = 0, **fields: Any) -> Image:
    rows = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return Image(
        **{
            'height': pixels.shape[0],
            'width': pixels.shape[1],
            'encoding': encoding,
            'step': rows.shape[1],
            'data': array('B', rows.tobytes()),
            **fields,
        }
    )


@pytest.mark.parametrize('padding', [0, 4])
@pytest.mark.parametrize(
    ('pixels', 'encoding', 'expected'),
    [
        (RGB, 'rgb8', RGB),
        (RGB, 'bgr8', RGB[..., ::-1]),
        (RGB, '8UC3', RGB[..., ::-1]),
        (np.concatenate([RGB, ALPHA], -1), 'rgba8', RGB),
        (np.concatenate([RGB, ALPHA], -1), 'bgra8', RGB[..., ::-1]),
        (GRAY, 'mono8', np.stack([GRAY] * 3, -1)),
        (GRAY, '8UC1', np.stack([GRAY] * 3, -1)),
        (GRAY.astype('<u2') * 256 + 7, 'mono16', np.stack([GRAY * 4] * 3, -1)),  # of 14 bits
    ],
)
def test_encodings_become_rgb_with_and_without_row_padding(
    pixels: np.ndarray, encoding: str, expected: np.ndarray, padding: int
) -> None:
    rgb = image_to_rgb(message(pixels, encoding, padding=padding))
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, expected)


def test_big_endian_mono16_is_read_as_such() -> None:
    bright = GRAY + np.uint8(190)
    rgb = image_to_rgb(message((bright * np.uint16(256)).astype('>u2'), 'mono16', is_bigendian=1))
    np.testing.assert_array_equal(rgb[..., 0], bright)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8'])
def test_common_encodings_are_not_copied(encoding: str) -> None:
    image = message(RGB, encoding)
    assert np.shares_memory(image_to_rgb(image), np.frombuffer(image.data, np.uint8))


@pytest.mark.parametrize(
    ('fields', 'complaint'),
    [
        ({'width': 0}, r'empty \(0 x 4 pixels\)'),
        ({'height': 0}, r'empty \(5 x 0 pixels\)'),
        ({'step': 14}, 'step is 14 bytes, but 5 pixels of rgb8 need 15'),
        ({'step': 0}, 'step is 0 bytes'),
        ({'data': array('B', bytes(59))}, 'data has 59 bytes, but 4 rows of step 15 need 60'),
        ({'data': array('B')}, 'data has 0 bytes'),
        ({'height': 2**32 - 1}, 'need 64424509425'),
        ({'encoding': 'teapot8'}, 'encoding "teapot8" is not supported'),
        ({'encoding': ''}, 'encoding "" is not supported'),
    ],
)
def test_a_message_that_contradicts_itself_is_refused_with_the_reason(
    fields: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConversionError, match=complaint):
        image_to_rgb(message(RGB, 'rgb8', **fields))


def test_an_unknown_encoding_names_the_remedy() -> None:
    with pytest.raises(ConversionError, match='publish one of rgb8'):
        image_to_rgb(message(GRAY, '64FC1'))


def test_an_array_survives_the_way_there_and_back() -> None:
    header = Header(frame_id='camera')
    image = array_to_image(RGB[:, ::-1], header=header, encoding='rgb8')
    assert image.header == header
    assert (image.height, image.width, image.step) == (4, 5, 15)
    np.testing.assert_array_equal(image_to_rgb(image), RGB[:, ::-1])


def test_a_mask_becomes_0_and_255_with_the_header_of_its_image() -> None:
    mask = GRAY > 20
    image = mask_to_image(mask, header=Header(frame_id='camera'))
    assert (image.encoding, image.header.frame_id) == ('mono8', 'camera')
    np.testing.assert_array_equal(np.frombuffer(image.data, np.uint8).reshape(4, 5), mask * 255)
