"""Between sensor_msgs/Image and numpy, without a copy where the layout allows."""

from __future__ import annotations

import sys
from array import array

import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from instructseg_ros.streaming.bit_depth import BitDepth
from instructseg_ros.streaming.compressed import decode
from instructseg_ros.streaming.encodings import (
    ENCODINGS,
    MEASUREMENTS,
    ConversionError,
    pixels_of,
)
from instructseg_ros.streaming.quoting import describe_error, quote

LABEL_ENCODINGS = ('16UC1', 'mono8')


def image_to_rgb(message: Image, bits: BitDepth | None = None) -> np.ndarray:
    """Return the pixels of a message as (H, W, 3) uint8 RGB, see `pixels_of`.

    Encodings that are not in ENCODINGS go through cv_bridge where that is installed.

    Raises:
        ConversionError: The message contradicts itself or its encoding cannot be read.
    """
    known = (*ENCODINGS, *MEASUREMENTS)
    if message.encoding in known or not message.width or not message.height:
        return pixels_of(message, bits)
    return _through_cv_bridge(message)


def compressed_to_rgb(message: CompressedImage, bits: BitDepth | None = None) -> np.ndarray:
    """Return the pixels of a compressed message as (H, W, 3) uint8 RGB, see `decode`.

    Raises:
        ConversionError: It is no whole JPEG or PNG.
    """
    return decode(message.data, message.format, bits)


def array_to_image(pixels: np.ndarray, *, header: Header, encoding: str) -> Image:
    """Return (H, W) or (H, W, C) pixels as a message with the header given, rows not padded."""
    pixels = np.ascontiguousarray(pixels)
    message = Image(header=header, height=pixels.shape[0], width=pixels.shape[1],
                    encoding=encoding, is_bigendian=sys.byteorder == 'big',
                    step=pixels.strides[0])
    data = array('B')
    data.frombytes(memoryview(pixels.reshape(-1)).cast('B'))
    message.data = data
    return message


def mask_to_image(mask: np.ndarray, *, header: Header) -> Image:
    """Return an (H, W) bool mask as mono8, 255 where it is true."""
    pixels = np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255)
    return array_to_image(pixels, header=header, encoding='mono8')


def _through_cv_bridge(message: Image) -> np.ndarray:
    try:
        from cv_bridge import CvBridge
    except ImportError:
        raise ConversionError(
            f'encoding {quote(message.encoding)} is not supported; publish one of '
            f'{", ".join(ENCODINGS)}, or install cv_bridge (apt install '
            f'ros-$ROS_DISTRO-cv-bridge) to read others') from None
    try:
        return np.asarray(CvBridge().imgmsg_to_cv2(message, 'rgb8'))
    except Exception as error:
        raise ConversionError(
            f'encoding {quote(message.encoding)} is not supported, not by cv_bridge either '
            f'({describe_error(error)}); publish one of {", ".join(ENCODINGS)}') from None
