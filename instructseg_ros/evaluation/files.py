"""Masks in prediction files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from instructseg_ros.streaming import image_files


def read_labels(file: Path, size: tuple[int, int]) -> np.ndarray:
    """Read the number of each pixel of a picture of one channel, or with a palette.

    Args:
        file: the picture.
        size: (height, width) that it must have.

    Raises:
        ValueError: it is damaged, has colours or another size; the message names it.
        FileNotFoundError: it is missing.

    Returns:
        (H, W) integers.
    """
    return _of_size(image_files.read_labels(file), size, file)


def read_mask(file: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool, what is not 0; see `read_labels`, but it may have colours."""
    return _of_size(image_files.read_mask(file), size, file)


def _of_size(values: np.ndarray, size: tuple[int, int], file: Path) -> np.ndarray:
    if values.shape != size:
        raise ValueError(f'{file} has {values.shape} pixels and its frame {size}: (height, width)')
    return values


def folder_of(predictions: Path, name: str) -> Path:
    """The folder in which predictions lie: one of this name, as submissions have it, or itself."""
    return predictions / name if (predictions / name).is_dir() else predictions
