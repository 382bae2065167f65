"""Masks as COCO's compressed run lengths, as pycocotools reads and writes them.

Pixels are counted column by column: first how many are not in the mask, then how many are, and so
on. From the fourth on, a count is written as its difference to the one before the last, in digits
of five bits, the least first; bit 5 says that another digit follows, and 48 makes it printable.
"""

from __future__ import annotations

from typing import Any

import numpy as np

DIGITS = np.arange(7)  # 35 bits


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """(H, W) bool -> {'size': [H, W], 'counts': text}."""
    pixels = mask.ravel(order='F')
    changes = np.flatnonzero(np.diff(pixels, prepend=False)) if pixels.size else []
    counts = np.diff(np.concatenate([[0], changes, [pixels.size]])).astype(np.int64)
    counts[3:] = counts[3:] - counts[1:-2]
    rest = counts[:, None] >> (5 * DIGITS)
    digits, rest = rest & 31, rest >> 5
    last = (rest == np.where(digits & 16, -1, 0)).argmax(axis=1)[:, None]
    text = (digits + np.where(last > DIGITS, 32, 0) + 48).astype(np.uint8)[last >= DIGITS]
    return {'size': list(mask.shape), 'counts': text.tobytes().decode('ascii')}


def decode_mask(encoded: dict[str, Any]) -> np.ndarray:
    """{'size': [H, W], 'counts': text} -> (H, W) bool.

    Raises:
        ValueError: The counts do not make up the size.
    """
    height, width = encoded['size']
    counts = _counts(np.frombuffer(encoded['counts'].encode('ascii'), np.uint8) - 48)
    if (counts < 0).any() or counts.sum() != height * width:
        raise ValueError(f'the run lengths do not make up {height} x {width} pixels')
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(pixels.reshape(width, height).T)


def _counts(digits: np.ndarray) -> np.ndarray:
    """The run lengths of digits, of which bit 5 says that another one follows."""
    ends = np.flatnonzero((digits & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if not len(ends) or ends[-1] != len(digits) - 1 or lengths.max() > len(DIGITS):
        raise ValueError('the run lengths break off')
    places = 5 * (np.arange(len(digits)) - np.repeat(starts, lengths))
    counts = np.add.reduceat((digits & 31).astype(np.int64) << places, starts)
    counts -= np.where(digits[ends] & 16, 1 << (5 * lengths), 0)
    counts[1::2] = counts[1::2].cumsum()
    counts[2::2] = counts[2::2].cumsum()
    return counts
