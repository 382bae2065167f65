"""Depth images (REP 118) in metres, also where depth and color images differ in size."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np


class FieldOfViewError(ValueError):
    """Two images cannot show the same; the message names both and the remedy."""


def check_same_view(shape: tuple[int, ...], image: tuple[int, ...], name: str) -> None:
    """Refuse a size of another aspect ratio than the image's, beyond the rounding of a pixel.

    Args:
        shape: (h, w) of what belongs to the image.
        image: (H, W).
        name: Owner of the shape, in words.

    Raises:
        FieldOfViewError: The aspect ratios differ.
    """
    (height, width), (rows, columns) = shape[:2], image[:2]
    # One side of the coarser may be rounded to the next pixel.
    if abs(width * rows - height * columns) > max(width, height, columns, rows):
        raise FieldOfViewError(
            f'{name} is for {width} x {height} pixels and the image has {columns} x {rows}: they '
            f'differ in aspect ratio, so that pixels of both do not show the same; publish it for '
            f'this image (depth: registered to it)'
        )


def nearest(shape: tuple[int, ...], source: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of a source image for each row of an image, and the same for columns.

    Args:
        shape: (H, W) of the image.
        source: (h, w) of the source.

    Returns:
        (H,) rows and (W,) columns of the source, int64.
    """
    rows, columns = (
        ((2 * np.arange(wanted) + 1) * there) // (2 * wanted)
        for wanted, there in zip(shape[:2], source[:2], strict=True)
    )
    return rows, columns


_ITEMS: Final = {'16UC1': 'u2', 'mono16': 'u2', '32FC1': 'f4'}


class DepthError(ValueError):
    """A depth image cannot be read; the message names what is wrong and the remedy."""


class DepthMessage(Protocol):
    """The fields of sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


def metres_of(message: DepthMessage) -> np.ndarray:
    """Return the depth of a message as (H, W) float32, m along the optical axis.

    NaN where there is none: 0 in 16UC1 and mono16, which are in mm; 0, less and what is not
    finite in 32FC1, which is in m.

    Raises:
        DepthError: The message contradicts itself, or its encoding is none of REP 118.
    """
    raw = _view(message)
    if raw.dtype.kind == 'u':
        metres = raw.astype(np.float32)
        metres[metres == 0] = np.nan
        return metres * np.float32(1e-3)
    metres = raw.astype(np.float32)
    metres[~(np.isfinite(metres) & (metres > 0))] = np.nan
    return metres


def mask_depth(message: DepthMessage, mask: np.ndarray) -> np.ndarray:
    """Return the depth of a message, (h, w) and in its own unit, without what is not in a mask.

    Args:
        message: The depth image, of type uint16 or float32.
        mask: (H, W) bool of the same field of view; of another resolution, its nearest pixels
            count.

    Returns:
        The native-endian pixels, a copy; outside the mask 0 (16UC1, mono16) or NaN (32FC1).

    Raises:
        DepthError: As `metres_of`.
        FieldOfViewError: The mask is of another aspect ratio.
    """
    raw = _view(message)
    check_same_view(raw.shape, mask.shape, 'the depth image')
    rows, columns = nearest(raw.shape, mask.shape)
    depth = raw.astype(raw.dtype.newbyteorder('='))
    depth[~mask[np.ix_(rows, columns)]] = 0 if raw.dtype.kind == 'u' else np.nan
    return depth


def _view(message: DepthMessage) -> np.ndarray:
    if message.width == 0 or message.height == 0:
        raise DepthError(
            f'the depth image is empty ({message.width} x {message.height} pixels); '
            f'check the camera driver'
        )
    if message.encoding not in _ITEMS:
        raise DepthError(
            f'"{message.encoding}" is not an encoding of depth; publish 32FC1 in m '
            f'or 16UC1 in mm (REP 118), not a coloured or compressed image'
        )
    dtype = np.dtype(_ITEMS[message.encoding]).newbyteorder('>' if message.is_bigendian else '<')
    row = message.width * dtype.itemsize
    if message.step < row:
        raise DepthError(
            f'step is {message.step} bytes, but {message.width} pixels of '
            f'{message.encoding} need {row}; set step to the bytes of one row, '
            f'padding included'
        )
    if len(message.data) < message.step * message.height:
        raise DepthError(
            f'data has {len(message.data)} bytes, but {message.height} rows of step '
            f'{message.step} need {message.step * message.height}; the camera sent '
            f'part of an image or a wrong size'
        )
    return np.ndarray(
        (message.height, message.width),
        dtype,
        buffer=message.data,
        strides=(message.step, dtype.itemsize),
    )
