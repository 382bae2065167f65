"""COCO run-length encoding of masks: pycocotools behind a check of what other programs wrote.

pycocotools itself reads beyond the end of a truncated text, and leaves pixels unset if there are
too few counts, so all masks that are read are decoded here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from instructseg_ros.streaming.image_files import MAX_PIXELS

# A count has digits from "P" to "o", then a last one from "0" to "O", of five bits each. Six digits
# hold every difference of two counts up to MAX_PIXELS.
_COMPRESSED: Final = re.compile('(?:[P-o]{0,5}[0-O])+')


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Encode an (H, W) bool mask as {'size': [H, W], 'counts': text}."""
    from pycocotools import mask as coco

    encoded = coco.encode(np.asfortranarray(mask, np.uint8))
    return {'size': list(mask.shape), 'counts': encoded['counts'].decode('ascii')}


def decode_mask(encoded: Mapping[str, Any]) -> np.ndarray:
    """Decode {'size': [H, W], 'counts': text or list} to an (H, W) bool mask.

    Raises:
        ValueError: The size or the counts are malformed, or the counts do not fill the size.
    """
    height, width = checked_size(encoded.get('size'))
    counts = _checked_counts(encoded.get('counts'), height * width)
    mask = _decode(counts, height, width)
    # Counts that fill the mask are too many for a mask with one pixel less.
    if mask is None or (mask.size and _decode(counts, mask.size - 1, 1) is not None):
        raise ValueError(
            f'the run lengths do not fill {height} x {width} pixels: write the mask '
            f'again, for instance with pycocotools.mask.encode'
        )
    return np.ascontiguousarray(mask).view(bool)


def checked_size(size: Any) -> tuple[int, int]:
    """Return the height and width of a mask that another program wrote.

    Raises:
        ValueError: The size is malformed, or larger than an image may be.
    """
    if not isinstance(size, Sequence) or isinstance(size, str) or len(size) != 2:
        raise ValueError(f'a size is [height, width], not {str(size)[:80]}')
    if any(isinstance(side, bool) or not isinstance(side, int) or side < 0 for side in size):
        raise ValueError(f'height and width must be whole numbers, not {str(size)[:80]}')
    height, width = size
    if height * width > MAX_PIXELS:
        raise ValueError(f'{height} x {width} pixels are more than an image has ({MAX_PIXELS})')
    return height, width


def _checked_counts(counts: Any, pixels: int) -> str:
    """Return counts as a text that pycocotools can read safely."""
    from pycocotools import mask as coco

    if isinstance(counts, str):
        if not _COMPRESSED.fullmatch(counts):
            raise ValueError(
                'the run lengths are not compressed text: they are truncated, are longer than an '
                'image, or have a character outside "0" to "o"'
            )
        return counts
    if not isinstance(counts, Sequence):
        raise ValueError(f'the counts of run lengths are a text or a list, not {str(counts)[:80]}')
    if not all(isinstance(count, int) and 0 <= count <= MAX_PIXELS for count in counts):
        raise ValueError(
            'a list of run lengths has whole numbers from 0 on, one for each run, '
            f'not {str(list(counts))[:80]}'
        )
    encoded = coco.frPyObjects({'size': [pixels, 1], 'counts': list(counts)}, pixels, 1)
    return encoded['counts'].decode('ascii')


def _decode(counts: str, height: int, width: int) -> np.ndarray | None:
    """Decode to (H, W) uint8 in Fortran order; None if the counts are too many."""
    from pycocotools import mask as coco

    try:
        return coco.decode({'size': [height, width], 'counts': counts})
    except ValueError:
        return None
