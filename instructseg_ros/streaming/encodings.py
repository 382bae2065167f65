"""The pixels of image messages, whoever made them: rclpy, or a reader of recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class ConversionError(ValueError):
    """An image message cannot be read; the message names what is wrong and the remedy."""


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


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
ENCODINGS = tuple(_LAYOUTS)


def pixels_of(message: ImageMessage) -> np.ndarray:
    """Return the pixels of a message as (H, W, 3) uint8 RGB.

    Those of 8 bits become views of the message; 8UC3 is taken as BGR, as OpenCV writes it; mono16
    keeps its high byte.

    Raises:
        ConversionError: The message contradicts itself, or its encoding is none of ENCODINGS.
    """
    if message.width == 0 or message.height == 0:
        raise ConversionError(
            f'the image is empty ({message.width} x {message.height} pixels); '
            f'check the camera driver')
    if message.encoding not in _LAYOUTS:
        raise ConversionError(
            f'encoding "{message.encoding}" is not supported; publish one of '
            f'{", ".join(ENCODINGS)}')
    layout = _LAYOUTS[message.encoding]
    return layout.to_rgb(_view(message, layout))


def _view(message: ImageMessage, layout: _Layout) -> np.ndarray:
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
