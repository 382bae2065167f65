"""Image messages as arrays, and depth images (REP 118) in metres at any resolution."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np

_DTYPES: Final = {'16UC1': 'u2', 'mono16': 'u2', '32FC1': 'f4'}


class ConversionError(ValueError):
    """An image message cannot be read; the error says what is wrong and how to fix it."""


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


def image_view(
    message: ImageMessage, dtype: Any, channels: int = 1, *, rows: int | None = None
) -> np.ndarray:
    """View the samples of an image message as (rows, width, channels), without a copy.

    Args:
        message: The message.
        dtype: Type of a sample, without byte order.
        channels: Samples per pixel.
        rows: Number of rows of data; None: the image's height.

    Raises:
        ConversionError: `step` or `data` is too short.
    """
    dtype = np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<')
    row = message.width * channels * dtype.itemsize
    if message.step < row:
        raise ConversionError(
            f'step is {message.step} bytes, but {message.width} pixels of {message.encoding} '
            f'need {row}; set step to the bytes of one row, padding included'
        )
    rows = message.height if rows is None else rows
    if len(message.data) < message.step * rows:
        raise ConversionError(
            f'data has {len(message.data)} bytes, but {rows} rows of step {message.step} need '
            f'{message.step * rows}; the camera sent part of an image or a wrong size'
        )
    return np.ndarray(
        (rows, message.width, channels),
        dtype,
        buffer=message.data,
        strides=(message.step, channels * dtype.itemsize, dtype.itemsize),
    )


def check_not_empty(message: ImageMessage) -> None:
    """Raise a ConversionError for an image message without pixels."""
    if message.width == 0 or message.height == 0:
        raise ConversionError(
            f'the image is empty ({message.width} x {message.height} pixels); '
            f'check the camera driver'
        )


class FieldOfViewError(ValueError):
    """Two images have different fields of view; the error names both and how to fix it."""


def check_same_view(shape: tuple[int, ...], image: tuple[int, ...], name: str) -> None:
    """Check that two sizes have the same aspect ratio, up to one rounded pixel.

    Args:
        shape: (h, w) of the depth image or calibration.
        image: (H, W) of the image that it belongs to.
        name: Name of the depth image or calibration, for the error.

    Raises:
        FieldOfViewError: The aspect ratios differ.
    """
    (height, width), (rows, columns) = shape[:2], image[:2]
    # One side of the coarser image may be rounded to the next pixel.
    if abs(width * rows - height * columns) > max(width, height, columns, rows):
        raise FieldOfViewError(
            f'{name} is for {width} x {height} pixels and the image has {columns} x {rows}: they '
            f'differ in aspect ratio, so their pixels do not correspond; publish it for this image '
            f'(depth: registered to it)'
        )


def nearest(shape: tuple[int, ...], source: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest source row for each row of an image, and the same for columns.

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


def depth_in_metres(message: ImageMessage) -> np.ndarray:
    """Return a depth message as (H, W) float32, metres along the optical axis, NaN without depth.

    16UC1 and mono16 are in millimetres; 0 means no depth. 32FC1 is in metres; values that are not
    finite or not positive mean no depth.

    Raises:
        ConversionError: The message contradicts itself, or REP 118 does not define its encoding.
    """
    raw = _depth_view(message)
    metres = raw.astype(np.float32)
    metres[~(np.isfinite(metres) & (metres > 0))] = np.nan
    return metres * np.float32(1e-3) if raw.dtype.kind == 'u' else metres


def mask_depth(message: ImageMessage, mask: np.ndarray) -> np.ndarray:
    """Return the depth of a message inside a mask, (h, w) in the message's own unit.

    Args:
        message: The depth image, uint16 or float32.
        mask: (H, W) bool of the same field of view, at any resolution (nearest pixel).

    Returns:
        A copy of the pixels in native byte order; outside the mask 0 (integers) or NaN (float32).

    Raises:
        ConversionError: See `depth_in_metres`.
        FieldOfViewError: The mask differs in aspect ratio.
    """
    raw = _depth_view(message)
    check_same_view(raw.shape, mask.shape, 'the depth image')
    depth = raw.astype(raw.dtype.newbyteorder('='))
    depth[~mask[np.ix_(*nearest(raw.shape, mask.shape))]] = 0 if raw.dtype.kind == 'u' else np.nan
    return depth


def _depth_view(message: ImageMessage) -> np.ndarray:
    check_not_empty(message)
    if message.encoding not in _DTYPES:
        raise ConversionError(
            f'"{message.encoding}" is not an encoding of depth; publish 32FC1 in m '
            f'or 16UC1 in mm (REP 118), not a color or compressed image'
        )
    return image_view(message, _DTYPES[message.encoding])[..., 0]
