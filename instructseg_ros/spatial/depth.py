"""The depth of image messages, whoever made them (REP 118)."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np

from instructseg_ros.spatial.sampling import check_same_view, nearest

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
        raise DepthError(f'the depth image is empty ({message.width} x {message.height} pixels); '
                         f'check the camera driver')
    if message.encoding not in _ITEMS:
        raise DepthError(f'"{message.encoding}" is not an encoding of depth; publish 32FC1 in m '
                         f'or 16UC1 in mm (REP 118), not a coloured or compressed image')
    dtype = np.dtype(_ITEMS[message.encoding]).newbyteorder('>' if message.is_bigendian else '<')
    row = message.width * dtype.itemsize
    if message.step < row:
        raise DepthError(f'step is {message.step} bytes, but {message.width} pixels of '
                         f'{message.encoding} need {row}; set step to the bytes of one row, '
                         f'padding included')
    if len(message.data) < message.step * message.height:
        raise DepthError(f'data has {len(message.data)} bytes, but {message.height} rows of step '
                         f'{message.step} need {message.step * message.height}; the camera sent '
                         f'part of an image or a wrong size')
    return np.ndarray((message.height, message.width), dtype, buffer=message.data,
                      strides=(message.step, dtype.itemsize))
