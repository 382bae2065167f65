"""Decodes the pixels of image messages, for every encoding that cameras send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
from PIL import Image

from instructseg_ros.streaming.instruction import quote

#: Where red lies in the two by two pixels of a pattern, by the name that ROS gives it: its four
#: colours in reading order.
RED_AT: Final = {'rggb': (0, 0), 'bggr': (1, 1), 'gbrg': (1, 0), 'grbg': (0, 1)}


def mosaic_to_rgb(mosaic: np.ndarray, *, pattern: str) -> np.ndarray:
    """Return a Bayer mosaic as RGB: each missing colour is the mean of its nearest samples.

    Args:
        mosaic: (H, W) uint8, both even.
        pattern: A key of RED_AT.

    Returns:
        (H, W, 3) uint8.
    """
    row, column = RED_AT[pattern]
    # Reflected, a colour's samples stay where the pattern has them.
    padded = np.pad(mosaic.astype(np.uint16), 1, mode='reflect')
    rgb = np.empty((*mosaic.shape, 3), np.uint8)
    for color, (y, x) in ((0, (row, column)), (2, (1 - row, 1 - column))):
        _fill(rgb[..., color], padded, y, x)
    _fill_green(rgb[..., 1], padded, row, column)
    return rgb


def _fill(out: np.ndarray, padded: np.ndarray, row: int, column: int) -> None:
    """Fill in a colour that has one sample in four pixels, at (row, column) of each two by two."""
    for y in (0, 1):
        for x in (0, 1):
            rows = (0,) if y == row else (-1, 1)
            columns = (0,) if x == column else (-1, 1)
            neighbours = [_shifted(padded, y + dy, x + dx) for dy in rows for dx in columns]
            out[y::2, x::2] = _mean(neighbours)


def _fill_green(out: np.ndarray, padded: np.ndarray, row: int, column: int) -> None:
    """Fill in green, which has the other two samples of each four pixels."""
    for y in (0, 1):
        for x in (0, 1):
            is_green = (y == row) != (x == column)
            offsets = ((0, 0),) if is_green else ((-1, 0), (1, 0), (0, -1), (0, 1))
            out[y::2, x::2] = _mean([_shifted(padded, y + dy, x + dx) for dy, dx in offsets])


def _shifted(padded: np.ndarray, y: int, x: int) -> np.ndarray:
    """Return every second pixel of every second row, the first at (y, x) of the unpadded image."""
    height, width = padded.shape[0] // 2 - 1, padded.shape[1] // 2 - 1
    return padded[y + 1 :: 2, x + 1 :: 2][:height, :width]


def _mean(samples: list[np.ndarray]) -> np.ndarray:
    total = samples[0].copy() if len(samples) > 1 else samples[0]
    for sample in samples[1:]:
        total += sample
    return (total + len(samples) // 2) // len(samples)


# Fixed-point factors of BT.601, as exact as int32 allows for 8-bit values.
_SHIFT: Final = 16
_LUMA: Final = round(255 / 219 * 2**_SHIFT)
_RED_V: Final = round(1.402 * 255 / 224 * 2**_SHIFT)
_GREEN_U: Final = round(-0.344136 * 255 / 224 * 2**_SHIFT)
_GREEN_V: Final = round(-0.714136 * 255 / 224 * 2**_SHIFT)
_BLUE_U: Final = round(1.772 * 255 / 224 * 2**_SHIFT)


def packed_to_rgb(pixels: np.ndarray, *, luma_first: bool) -> np.ndarray:
    """Return 4:2:2 pixels, two in four bytes, as (H, W, 3) uint8 RGB.

    Args:
        pixels: (H, W, 2) uint8, W even.
        luma_first: Y U Y V (YUY2), otherwise U Y V Y (UYVY).
    """
    luma, chroma = (
        (pixels[..., 0], pixels[..., 1]) if luma_first else (pixels[..., 1], pixels[..., 0])
    )
    return _to_rgb(luma, chroma[:, 0::2], chroma[:, 1::2], repeat_rows=1)


def planar_to_rgb(luma: np.ndarray, chroma: np.ndarray, *, u_first: bool) -> np.ndarray:
    """Return a 4:2:0 image of two planes as (H, W, 3) uint8 RGB.

    Args:
        luma: (H, W) uint8, both even.
        chroma: (H / 2, W / 2, 2) uint8.
        u_first: U V (NV12), otherwise V U (NV21).
    """
    first, second = chroma[..., 0], chroma[..., 1]
    u, v = (first, second) if u_first else (second, first)
    return _to_rgb(luma, u, v, repeat_rows=2)


def _to_rgb(luma: np.ndarray, u: np.ndarray, v: np.ndarray, *, repeat_rows: int) -> np.ndarray:
    """Return (H, W) luma and (H / repeat_rows, W / 2) chroma as (H, W, 3) uint8 RGB."""
    height, width = luma.shape
    blue, red = u.astype(np.int32) - 128, v.astype(np.int32) - 128
    rgb = np.empty((height, width, 3), np.uint8)
    base = (luma.astype(np.int32) - 16) * _LUMA + (1 << (_SHIFT - 1))
    blocks = base.reshape(height // repeat_rows, repeat_rows, width // 2, 2)
    for channel, tint in enumerate(
        (red * _RED_V, blue * _GREEN_U + red * _GREEN_V, blue * _BLUE_U)
    ):
        value = (blocks + tint[:, None, :, None]) >> _SHIFT
        rgb[..., channel] = np.clip(value, 0, 255).reshape(height, width)
    return rgb


_SENSORS: Final = (8, 10, 12, 14, 16)  # bits
_OUTLIERS: Final = 1e-4  # share of the samples that may lie above: hot or invalid pixels


class BitDepth:
    """Infers the bit depth from the largest samples seen.

    It only grows, at most four times, so that brightness does not flicker. An image message does
    not say how many bits are in use, and many sensors of 10 or 12 bits put them in the low bits:
    the high byte of such an image is nearly black. At most 0.01 % of the samples of a frame may
    lie above the bit depth: hot pixels, or invalid ones marked with 65535, would otherwise darken
    the camera for ever.
    """

    def __init__(self, bits: int = _SENSORS[0]) -> None:
        """Begin with the bits that earlier frames have shown."""
        self._bits = bits

    @property
    def bits(self) -> int:
        """The bits that the frames so far have shown."""
        return self._bits

    def to_eight_bits(self, samples: np.ndarray) -> np.ndarray:
        """Return the upper eight of the bits that are in use.

        Outliers become 255.

        Args:
            samples: uint16 of any shape, with at least one element.

        Returns:
            uint8 of the same shape.
        """
        self._bits = next(bits for bits in _SENSORS if bits >= self._bits and _fits(samples, bits))
        return np.minimum(samples >> (self._bits - 8), 255).astype(np.uint8)

    def image_to_eight_bits(self, image: Image.Image) -> np.ndarray:
        """Return (H, W) uint8 of a grey image of 16 bits, which Pillow would clip at 255."""
        return self.to_eight_bits(np.array(image).astype(np.uint16))


def _fits(samples: np.ndarray, bits: int) -> bool:
    """Tell whether samples have no more bits, but for outliers."""
    return bits == _SENSORS[-1] or np.count_nonzero(samples >> bits) <= _OUTLIERS * samples.size


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
    'yuv422_yuy2': _YUY2,
    'yuyv': _YUY2,
    'uyvy': _UYVY,
    'yuv422': _UYVY,
    'nv12': _Layout(channels=1, even=_BOTH, rows=1.5, to_rgb=partial(_planes_to_rgb, u_first=True)),
    'nv21': _Layout(
        channels=1, even=_BOTH, rows=1.5, to_rgb=partial(_planes_to_rgb, u_first=False)
    ),
    **{
        f'bayer_{pattern}8': _Layout(channels=1, even=_BOTH, to_rgb=partial(_mosaic, pattern))
        for pattern in RED_AT
    },
    **{
        f'bayer_{pattern}16': _Layout(
            channels=1, even=_BOTH, item=np.uint16, to_rgb=partial(_mosaic, pattern)
        )
        for pattern in RED_AT
    },
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
            f'check the camera driver'
        )
    refuse_measurements(message.encoding)
    if message.encoding not in _LAYOUTS:
        raise ConversionError(
            f'encoding {quote(message.encoding)} is not supported; publish one of '
            f'{", ".join(ENCODINGS)}'
        )
    layout = _LAYOUTS[message.encoding]
    for side in layout.even:
        if getattr(message, side) % 2:
            raise ConversionError(
                f'{side} is {getattr(message, side)}, but {message.encoding} needs an even one; '
                f'check the camera driver'
            )
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
            f'publish it as mono16'
        )


def _view(message: ImageMessage, layout: _Layout) -> np.ndarray:
    """Return the samples of a message as an array of (rows of data, width, channels)."""
    dtype = np.dtype(layout.item).newbyteorder('>' if message.is_bigendian else '<')
    row = message.width * layout.channels * dtype.itemsize
    if message.step < row:
        raise ConversionError(
            f'step is {message.step} bytes, but {message.width} pixels of {message.encoding} '
            f'need {row}; set step to the bytes of one row, padding included'
        )
    rows = int(message.height * layout.rows)
    if len(message.data) < message.step * rows:
        raise ConversionError(
            f'data has {len(message.data)} bytes, but {rows} rows of step '
            f'{message.step} need {message.step * rows}; the camera sent part of an '
            f'image or a wrong size'
        )
    return np.ndarray(
        (rows, message.width, layout.channels),
        dtype,
        buffer=message.data,
        strides=(message.step, layout.channels * dtype.itemsize, dtype.itemsize),
    )
