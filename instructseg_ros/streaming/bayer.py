"""Mosaics of cameras as RGB."""

from __future__ import annotations

from typing import Final

import numpy as np

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
    return padded[y + 1::2, x + 1::2][:height, :width]


def _mean(samples: list[np.ndarray]) -> np.ndarray:
    total = samples[0].copy() if len(samples) > 1 else samples[0]
    for sample in samples[1:]:
        total += sample
    return (total + len(samples) // 2) // len(samples)
