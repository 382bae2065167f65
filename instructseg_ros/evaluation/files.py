"""Masks in prediction files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def read_labels(file: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 values of a picture of one channel, or with a palette.

    Raises:
        ValueError: it is damaged, or of another size; the message names it.
        FileNotFoundError: it is missing.
    """
    try:
        with Image.open(file) as image:
            values = np.array(image if image.mode in ('L', 'P') else image.convert('L'))
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError) as error:
        raise ValueError(f'{file} is not a readable picture: {error}') from error
    if values.shape != size:
        raise ValueError(f'{file} has {values.shape} pixels and its frame {size}: (height, width)')
    return values


def read_mask(file: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool, what is not 0; see `read_labels`."""
    return read_labels(file, size) > 0


def folder_of(predictions: Path, name: str) -> Path:
    """The folder in which predictions lie: one of this name, as submissions have it, or itself."""
    return predictions / name if (predictions / name).is_dir() else predictions
