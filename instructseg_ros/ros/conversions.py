"""Between sensor_msgs/Image and numpy, without a copy where the layout allows."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header


class ConversionError(ValueError):
    """An image message cannot be read; the message names what is wrong and the remedy."""


@dataclass(frozen=True, kw_only=True)
class _Layout:
    channels: int
    to_rgb: Callable[[np.ndarray], np.ndarray]
    item: type[np.unsignedinteger] = np.uint8


def _gray_to_rgb(pixels: np.ndarray) -> np.ndarray:
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


_LAYOUTS = {
    'rgb8': _Layout(channels=3, to_rgb=lambda pixels: pixels),
    'bgr8': _Layout(channels=3, to_rgb=lambda pixels: pixels[..., ::-1]),
    '8UC3': _Layout(channels=3, to_rgb=lambda pixels: pixels[..., ::-1]),
    'rgba8': _Layout(channels=4, to_rgb=lambda pixels: pixels[..., :3]),
    'bgra8': _Layout(channels=4, to_rgb=lambda pixels: pixels[..., 2::-1]),
    'mono8': _Layout(channels=1, to_rgb=_gray_to_rgb),
    '8UC1': _Layout(channels=1, to_rgb=_gray_to_rgb),
    'mono16': _Layout(channels=1, item=np.uint16,
                      to_rgb=lambda pixels: _gray_to_rgb((pixels >> 8).astype(np.uint8))),
}


def image_to_rgb(message: Image) -> np.ndarray:
    """Return the pixels of a message as (H, W, 3) uint8 RGB.

    rgb8, bgr8, rgba8, bgra8, mono8, 8UC1 and 8UC3 (taken as BGR, as OpenCV writes it) become
    views of the message; mono16 keeps its high byte. Other encodings go through cv_bridge where
    that is installed.

    Raises:
        ConversionError: The message contradicts itself or its encoding cannot be read.
    """
    if message.width == 0 or message.height == 0:
        raise ConversionError(
            f'the image is empty ({message.width} x {message.height} pixels); '
            f'check the camera driver')
    layout = _LAYOUTS.get(message.encoding)
    if layout is None:
        return _through_cv_bridge(message)
    return layout.to_rgb(_view(message, layout))


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


def _view(message: Image, layout: _Layout) -> np.ndarray:
    dtype = np.dtype(layout.item).newbyteorder('>' if message.is_bigendian else '<')
    row = message.width * layout.channels * dtype.itemsize
    if message.step < row:
        raise ConversionError(
            f'step is {message.step} bytes, but {message.width} pixels of {message.encoding} '
            f'need {row}; set step to the bytes of one row, padding included')
    if len(message.data) < message.step * message.height:
        raise ConversionError(
            f'data has {len(message.data)} bytes, but {message.height} rows of step '
            f'{message.step} need {message.step * message.height}; the camera sent part of an '
            f'image or a wrong size')
    return np.ndarray(
        (message.height, message.width, layout.channels), dtype, buffer=message.data,
        strides=(message.step, layout.channels * dtype.itemsize, dtype.itemsize))


def _through_cv_bridge(message: Image) -> np.ndarray:
    try:
        from cv_bridge import CvBridge
    except ImportError:
        raise ConversionError(
            f'encoding "{message.encoding}" is not supported; publish one of '
            f'{", ".join(_LAYOUTS)}, or install cv_bridge (apt install '
            f'ros-$ROS_DISTRO-cv-bridge) to read others') from None
    try:
        return np.asarray(CvBridge().imgmsg_to_cv2(message, 'rgb8'))
    except Exception as error:
        raise ConversionError(
            f'encoding "{message.encoding}" is not supported, not by cv_bridge either ({error}); '
            f'publish one of {", ".join(_LAYOUTS)}') from None
