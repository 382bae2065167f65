"""Masks as COCO's run lengths, as pycocotools reads and writes them: all readers decode here.

Pixels are counted column by column: first how many are not in the mask, then how many are, and so
on. The counts are a list of numbers, or compressed to a text: from the fourth on, a count is
written as its difference to the one before the last, in digits of five bits, the least first;
bit 5 says that another digit follows, and 48 makes it printable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from instructseg_ros.streaming.image_files import MAX_PIXELS

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


def decode_mask(encoded: Mapping[str, Any]) -> np.ndarray:
    """{'size': [H, W], 'counts': text or list} -> (H, W) bool.

    Raises:
        ValueError: The size or the counts are malformed, or the counts do not fill the size.
    """
    height, width = checked_size(encoded.get('size'))
    counts = _checked_counts(encoded.get('counts'))
    # Each count is compared too: a sum of huge counts could overflow to the right number.
    if ((counts < 0) | (counts > height * width)).any() or counts.sum() != height * width:
        raise ValueError(
            f'the run lengths do not fill {height} x {width} pixels: write the mask '
            f'anew, for instance with pycocotools.mask.encode'
        )
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(pixels.reshape(width, height).T)


def checked_size(size: Any) -> tuple[int, int]:
    """Return the height and width of a mask that another program wrote.

    Raises:
        ValueError: The size is malformed, or larger than an image may be.
    """
    if not isinstance(size, Sequence) or isinstance(size, str) or len(size) != 2:
        raise ValueError(f'a size is [height, width], not {str(size)[:80]}')
    if any(isinstance(side, bool) or not isinstance(side, int) or side < 0 for side in size):
        raise ValueError(f'height and width are whole numbers, not {str(size)[:80]}')
    height, width = size
    if height * width > MAX_PIXELS:
        raise ValueError(f'{height} x {width} pixels are more than an image has ({MAX_PIXELS})')
    return height, width


def _checked_counts(counts: Any) -> np.ndarray:
    """(N,) integers of a text or a list."""
    if isinstance(counts, str):
        return _decompressed(counts)
    if not isinstance(counts, Sequence):
        raise ValueError(f'run lengths have counts, a text or a list, not {str(counts)[:80]}')
    if not all(isinstance(count, int) and 0 <= count <= MAX_PIXELS for count in counts):
        raise ValueError(
            'a list of run lengths has whole numbers from 0 on, one for each run, '
            f'not {str(list(counts))[:80]}'
        )
    return np.array(counts, np.int64)


def _decompressed(text: str) -> np.ndarray:
    """Run lengths from compressed text; bit 5 of a digit says that another digit follows."""
    characters = np.frombuffer(text.encode(errors='surrogatepass'), np.uint8)
    digits = characters.astype(np.int64) - 48
    if ((digits < 0) | (digits > 63)).any():
        raise ValueError(
            'the run lengths are not compressed text: they have a character outside "0" to "o"'
        )
    ends = np.flatnonzero((digits & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if not len(ends) or ends[-1] != len(digits) - 1 or lengths.max() > len(DIGITS):
        raise ValueError('the run lengths break off')
    places = 5 * (np.arange(len(digits)) - np.repeat(starts, lengths))
    counts = np.add.reduceat((digits & 31) << places, starts)
    counts -= np.where(digits[ends] & 16, 1 << (5 * lengths), 0)
    counts[1::2] = counts[1::2].cumsum()
    counts[2::2] = counts[2::2].cumsum()
    return counts
