"""The pixels of image messages, whoever made them: rclpy, or a reader of recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from instructseg_ros.streaming.bayer import RED_AT, mosaic_to_rgb
from instructseg_ros.streaming.bit_depth import BitDepth
from instructseg_ros.streaming.quoting import quote
from instructseg_ros.streaming.yuv import packed_to_rgb, planar_to_rgb


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
    """How the samples of an encoding lie.

    Attributes:
        channels: Samples of a pixel.
        to_rgb: Makes (H, W, 3) uint8 RGB of (H, W, channels) uint8 samples.
        item: Type of a sample.
        even: Width and height must be even.
        rows: Rows of data for each row of the image.
    """

    channels: int
    to_rgb: Callable[[np.ndarray], np.ndarray]
    item: type[np.unsignedinteger] = np.uint8
    even: tuple[str, ...] = ()
    rows: float = 1.0


def _gray_to_rgb(pixels: np.ndarray) -> np.ndarray:
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _planes_to_rgb(rows: np.ndarray, *, u_first: bool) -> np.ndarray:
    """Return rows of luma and, half as many, of chroma as RGB."""
    height, width = len(rows) * 2 // 3, rows.shape[1]
    chroma = rows[height:, :, 0].reshape(height // 2, width // 2, 2)
    return planar_to_rgb(rows[:height, :, 0], chroma, u_first=u_first)


def _mosaic(pattern: str, samples: np.ndarray) -> np.ndarray:
    return mosaic_to_rgb(samples[..., 0], pattern=pattern)


_YUY2 = _Layout(channels=2, even=('width',), to_rgb=partial(packed_to_rgb, luma_first=True))
_UYVY = _Layout(channels=2, even=('width',), to_rgb=partial(packed_to_rgb, luma_first=False))
_BOTH = ('width', 'height')
_LAYOUTS = {
    'rgb8': _Layout(channels=3, to_rgb=lambda pixels: pixels),
    'bgr8': _Layout(channels=3, to_rgb=lambda pixels: pixels[..., ::-1]),
    '8UC3': _Layout(channels=3, to_rgb=lambda pixels: pixels[..., ::-1]),
    'rgba8': _Layout(channels=4, to_rgb=lambda pixels: pixels[..., :3]),
    'bgra8': _Layout(channels=4, to_rgb=lambda pixels: pixels[..., 2::-1]),
    'mono8': _Layout(channels=1, to_rgb=_gray_to_rgb),
    '8UC1': _Layout(channels=1, to_rgb=_gray_to_rgb),
    'mono16': _Layout(channels=1, item=np.uint16, to_rgb=_gray_to_rgb),
    'yuv422_yuy2': _YUY2, 'yuyv': _YUY2, 'uyvy': _UYVY, 'yuv422': _UYVY,
    'nv12': _Layout(channels=1, even=_BOTH, rows=1.5,
                    to_rgb=partial(_planes_to_rgb, u_first=True)),
    'nv21': _Layout(channels=1, even=_BOTH, rows=1.5,
                    to_rgb=partial(_planes_to_rgb, u_first=False)),
    **{f'bayer_{pattern}8': _Layout(channels=1, even=_BOTH, to_rgb=partial(_mosaic, pattern))
       for pattern in RED_AT},
    **{f'bayer_{pattern}16': _Layout(channels=1, even=_BOTH, item=np.uint16,
                                     to_rgb=partial(_mosaic, pattern)) for pattern in RED_AT},
}
ENCODINGS = tuple(_LAYOUTS)
LABELS = {'mono8': np.uint8, '8UC1': np.uint8, '16UC1': np.uint16, 'mono16': np.uint16}
MEASUREMENTS = ('16UC1', '32FC1')


def pixels_of(message: ImageMessage, bits: BitDepth | None = None) -> np.ndarray:
    """Return the pixels of a message as (H, W, 3) uint8 RGB.

    Interleaved ones of 8 bits become views of the message; 8UC3 is taken as BGR, as OpenCV writes
    it; yuv422 is U Y V Y, as ROS defines it.

    Args:
        message: The message.
        bits: How many of 16 bits the camera uses, kept from frame to frame; None: as this image
            alone shows.

    Raises:
        ConversionError: The message contradicts itself, or its encoding is none of ENCODINGS.
    """
    if message.width == 0 or message.height == 0:
        raise ConversionError(
            f'the image is empty ({message.width} x {message.height} pixels); '
            f'check the camera driver')
    refuse_measurements(message.encoding)
    if message.encoding not in _LAYOUTS:
        raise ConversionError(
            f'encoding {quote(message.encoding)} is not supported; publish one of '
            f'{", ".join(ENCODINGS)}')
    layout = _LAYOUTS[message.encoding]
    for side in layout.even:
        if getattr(message, side) % 2:
            raise ConversionError(
                f'{side} is {getattr(message, side)}, but {message.encoding} needs an even one; '
                f'check the camera driver')
    samples = _view(message, layout)
    if samples.dtype.itemsize > 1:
        samples = (bits or BitDepth()).to_eight_bits(samples)
    return layout.to_rgb(samples)


def labels_of(message: ImageMessage) -> np.ndarray:
    """Return the (H, W) uint8 or uint16 numbers of a label image, a view of the message.

    Raises:
        ConversionError: The message contradicts itself, or its encoding is none of LABELS.
    """
    if message.encoding not in LABELS:
        raise ConversionError(f'labels are {", ".join(LABELS)}, not {quote(message.encoding)}')
    layout = _Layout(channels=1, item=LABELS[message.encoding], to_rgb=_gray_to_rgb)
    return _view(message, layout)[..., 0]


def refuse_measurements(encoding: str) -> None:
    """Refuse what may be depth: it would be segmented as a picture.

    Raises:
        ConversionError: The encoding is one of MEASUREMENTS.
    """
    if encoding in MEASUREMENTS:
        raise ConversionError(
            f'encoding {quote(encoding)} may be depth or infrared, and does not say which: if it '
            f'is depth, publish it on depth/image and here the colour image; if it is infrared, '
            f'publish it as mono16')


def _view(message: ImageMessage, layout: _Layout) -> np.ndarray:
    """Return the samples of a message as an array of (rows of data, width, channels)."""
    dtype = np.dtype(layout.item).newbyteorder('>' if message.is_bigendian else '<')
    row = message.width * layout.channels * dtype.itemsize
    if message.step < row:
        raise ConversionError(
            f'step is {message.step} bytes, but {message.width} pixels of {message.encoding} '
            f'need {row}; set step to the bytes of one row, padding included')
    rows = int(message.height * layout.rows)
    if len(message.data) < message.step * rows:
        raise ConversionError(
            f'data has {len(message.data)} bytes, but {rows} rows of step '
            f'{message.step} need {message.step * rows}; the camera sent part of an '
            f'image or a wrong size')
    return np.ndarray(
        (rows, message.width, layout.channels), dtype, buffer=message.data,
        strides=(message.step, layout.channels * dtype.itemsize, dtype.itemsize))
