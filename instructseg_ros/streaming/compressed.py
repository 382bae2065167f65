"""The pixels of compressed images, as image_transport sends them."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from instructseg_ros.streaming.bayer import RED_AT, mosaic_to_rgb
from instructseg_ros.streaming.bit_depth import BitDepth
from instructseg_ros.streaming.encodings import ConversionError, refuse_measurements
from instructseg_ros.streaming.quoting import describe_error, quote

MOST_PIXELS: Final = 64 << 20


def decode(data: Any, format: str, bits: BitDepth | None = None) -> np.ndarray:
    """Return a JPEG or PNG as (H, W, 3) uint8 RGB.

    Args:
        data: The bytes of the file.
        format: That of sensor_msgs/CompressedImage, such as `jpeg` or
            `bgr8; jpeg compressed bgr8`.
        bits: How many of 16 bits the camera uses, as for `pixels_of`.

    Raises:
        ConversionError: It is something else, too large, or only a part.
    """
    if 'compressedDepth' in format:
        raise ConversionError(
            f'format {quote(format)} is one of depth; send the colour image as JPEG or PNG')
    encoding = format.partition(';')[0]
    refuse_measurements(encoding)
    samples = _samples(data, format, bits or BitDepth())
    if samples.ndim == 3:
        return samples
    pattern = encoding.removeprefix('bayer_').rstrip('0168')
    if pattern in RED_AT and not any(side % 2 for side in samples.shape):
        return mosaic_to_rgb(samples, pattern=pattern)
    return np.broadcast_to(samples[..., None], (*samples.shape, 3))


def _samples(data: Any, format: str, bits: BitDepth) -> np.ndarray:
    """Return (H, W, 3) or, of grey, (H, W) uint8."""
    try:
        with Image.open(io.BytesIO(data), formats=('JPEG', 'PNG')) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ConversionError(
                    f'the image has {picture.width} x {picture.height} pixels, more than '
                    f'{MOST_PIXELS >> 20} Mi; send smaller ones')
            if picture.mode.startswith('I'):
                return bits.image_to_eight_bits(picture)
            return np.array(picture if picture.mode == 'L' else picture.convert('RGB'))
    except ConversionError:
        raise
    except UnidentifiedImageError as error:
        raise ConversionError(f'{len(data)} bytes of format {quote(format)} are no whole JPEG '
                              f'or PNG; check the camera driver') from error
    # Pillow raises ValueError and others for files that are damaged on purpose.
    except Exception as error:
        raise ConversionError(
            f'{len(data)} bytes of format {quote(format)} are no whole JPEG or PNG '
            f'({describe_error(error)}); '
            f'check the camera driver') from error
