"""Decodes raw image messages to 8-bit RGB, for every encoding that cameras send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Final

import numpy as np

from instructseg_ros.spatial.depth import ConversionError, ImageMessage, check_not_empty, image_view
from instructseg_ros.streaming.instruction import quote

#: OpenCV's code for each Bayer pattern. ROS names a pattern by its first four pixels in reading
#: order, OpenCV by the second and third pixel of its second row.
BAYER_CODES: Final = {
    'rggb': 'BayerBG2RGB',
    'bggr': 'BayerRG2RGB',
    'gbrg': 'BayerGR2RGB',
    'grbg': 'BayerGB2RGB',
}


def _import_cv2() -> ModuleType:
    """Import OpenCV only when an image needs it: the import takes 0.1 s and 17 MB.

    Raises:
        ConversionError: It is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise ConversionError(
            f'Bayer and YUV images need OpenCV ({error}): apt install python3-opencv, or pip '
            f'install opencv-python-headless'
        ) from error
    return cv2


def bayer_to_rgb(mosaic: np.ndarray, pattern: str) -> np.ndarray:
    """Convert a Bayer mosaic to RGB: each missing color is the mean of its nearest samples.

    Args:
        mosaic: (H, W) uint8, both even.
        pattern: A key of BAYER_CODES.

    Returns:
        (H, W, 3) uint8.
    """
    cv2 = _import_cv2()
    # OpenCV copies border pixels from neighbours; reflecting two pixels continues the pattern.
    padded = cv2.copyMakeBorder(mosaic, 2, 2, 2, 2, cv2.BORDER_REFLECT_101)
    return cv2.cvtColor(padded, getattr(cv2, f'COLOR_{BAYER_CODES[pattern]}'))[2:-2, 2:-2]


def _yuv_to_rgb(samples: np.ndarray, code: str) -> np.ndarray:
    """Convert limited-range BT.601 YUV to (H, W, 3) uint8 RGB; luma below 16 is black."""
    cv2 = _import_cv2()
    return cv2.cvtColor(samples, getattr(cv2, f'COLOR_YUV2RGB_{code}'))


def _first_three(samples: np.ndarray) -> np.ndarray:
    return samples[..., :3]


def _first_three_reversed(samples: np.ndarray) -> np.ndarray:
    return samples[..., 2::-1]


def _gray_to_rgb(samples: np.ndarray) -> np.ndarray:
    return np.broadcast_to(samples, (*samples.shape[:2], 3))


_SENSOR_BITS: Final = (8, 10, 12, 14, 16)
_MAX_OUTLIERS: Final = 1e-4  # share of the samples that may exceed the bit depth


class BitDepth:
    """Infers how many of 16 bits a camera uses, from the largest samples of its frames.

    An image message does not state the bit depth, and many 10-bit and 12-bit sensors use the low
    bits, so that the high byte is nearly black. The bit depth only grows, at most four times, so
    that brightness does not flicker. Up to 0.01 % of the samples of a frame may exceed it, because
    hot pixels, or invalid ones marked 65535, would otherwise darken every later frame.
    """

    def __init__(self, bits: int = _SENSOR_BITS[0]) -> None:
        """Start from the bit depth of earlier frames."""
        self._bits = bits

    @property
    def bits(self) -> int:
        """Bit depth of the frames so far."""
        return self._bits

    def to_eight_bits(self, samples: np.ndarray) -> np.ndarray:
        """Return the upper eight of the bits in use; outliers become 255.

        Args:
            samples: uint16 of any shape, with at least one element.

        Returns:
            uint8 of the same shape.
        """
        wider = (bits for bits in _SENSOR_BITS if bits >= self._bits)
        self._bits = next(bits for bits in wider if _fits(samples, bits))
        return np.minimum(samples >> (self._bits - 8), 255).astype(np.uint8)


def _fits(samples: np.ndarray, bits: int) -> bool:
    """Return whether samples have at most that many bits, except for outliers."""
    is_widest = bits == _SENSOR_BITS[-1]
    return is_widest or np.count_nonzero(samples >> bits) <= _MAX_OUTLIERS * samples.size


@dataclass(frozen=True)
class _Layout:
    """Layout of an encoding.

    Attributes:
        to_rgb: Converts (rows, W, channels) uint8 samples to (H, W, 3) uint8 RGB.
        channels: Samples per pixel.
        dtype: Type of a sample.
        even: Sides that must be even.
        rows: Rows of data per row of pixels.
    """

    to_rgb: Callable[[np.ndarray], np.ndarray]
    channels: int = 1
    dtype: type = np.uint8
    even: tuple[str, ...] = ()
    rows: float = 1.0


def _packed(code: str) -> _Layout:
    """Return the layout of 4:2:2 YUV: two pixels in four bytes."""
    return _Layout(partial(_yuv_to_rgb, code=code), channels=2, even=('width',))


def _planar(code: str) -> _Layout:
    """Return the layout of 4:2:0 YUV: luma, then half as many rows of interleaved chroma."""
    return _Layout(partial(_yuv_to_rgb, code=code), even=('width', 'height'), rows=1.5)


def _bayer(pattern: str, dtype: type) -> _Layout:
    def to_rgb(samples: np.ndarray) -> np.ndarray:
        return bayer_to_rgb(samples[..., 0], pattern)

    return _Layout(to_rgb, dtype=dtype, even=('width', 'height'))


_LAYOUTS = {
    'rgb8': _Layout(_first_three, channels=3),
    'bgr8': _Layout(_first_three_reversed, channels=3),
    '8UC3': _Layout(_first_three_reversed, channels=3),
    'rgba8': _Layout(_first_three, channels=4),
    'bgra8': _Layout(_first_three_reversed, channels=4),
    'mono8': _Layout(_gray_to_rgb),
    '8UC1': _Layout(_gray_to_rgb),
    'mono16': _Layout(_gray_to_rgb, dtype=np.uint16),
    'yuv422_yuy2': _packed('YUY2'),
    'yuyv': _packed('YUY2'),
    'uyvy': _packed('UYVY'),
    'yuv422': _packed('UYVY'),
    'nv12': _planar('NV12'),
    'nv21': _planar('NV21'),
    **{f'bayer_{pattern}8': _bayer(pattern, np.uint8) for pattern in BAYER_CODES},
    **{f'bayer_{pattern}16': _bayer(pattern, np.uint16) for pattern in BAYER_CODES},
}
ENCODINGS: Final = tuple(_LAYOUTS)
DEPTH_ENCODINGS: Final = ('16UC1', '32FC1')
_LABEL_DTYPES: Final = {'mono8': 'u1', '8UC1': 'u1', '16UC1': 'u2', 'mono16': 'u2'}


def decode_image(message: ImageMessage, bits: BitDepth | None = None) -> np.ndarray:
    """Return the pixels of a message as (H, W, 3) uint8 RGB.

    8-bit RGB, BGR and gray images become views of the message. 8UC3 is read as BGR, as OpenCV
    writes it, and yuv422 as U Y V Y, as ROS defines it.

    Args:
        message: The message.
        bits: Bit depth of the camera, kept from frame to frame; None infers it from this image.

    Raises:
        ConversionError: The message contradicts itself, or its encoding is not one of ENCODINGS.
    """
    check_not_empty(message)
    refuse_depth(message.encoding)
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
    rows = int(message.height * layout.rows)
    samples = image_view(message, layout.dtype, layout.channels, rows=rows)
    if samples.dtype.itemsize > 1:
        samples = (bits or BitDepth()).to_eight_bits(samples)
    return layout.to_rgb(samples)


def decode_labels(message: ImageMessage) -> np.ndarray:
    """Return the (H, W) uint8 or uint16 numbers of a label image, as a view of the message.

    Raises:
        ConversionError: The message contradicts itself, or is not a label image.
    """
    dtype = _LABEL_DTYPES.get(message.encoding)
    if dtype is None:
        raise ConversionError(
            f'labels are {", ".join(_LABEL_DTYPES)}, not {quote(message.encoding)}'
        )
    return image_view(message, dtype)[..., 0]


def refuse_depth(encoding: str) -> None:
    """Refuse an encoding that may be depth, which would be segmented as an image.

    Raises:
        ConversionError: The encoding is one of DEPTH_ENCODINGS.
    """
    if encoding in DEPTH_ENCODINGS:
        raise ConversionError(
            f'encoding {quote(encoding)} may be depth or infrared: if it is depth, publish it on '
            f'depth/image and the color image here; if it is infrared, publish it as mono16'
        )
