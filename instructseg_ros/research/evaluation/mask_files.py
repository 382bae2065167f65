"""Masks in prediction and submission files."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from instructseg_ros.streaming import image_files
from instructseg_ros.streaming.image_files import is_clutter


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


_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the same submission is the same file


def write_mask(file: Path, mask: np.ndarray) -> None:
    """Write a (H, W) bool mask as 0 and 255; a file that is there is a whole one."""
    _write(file, Image.fromarray(mask.astype(np.uint8) * 255))


def write_labels(file: Path, labels: np.ndarray) -> None:
    """Write (H, W) uint8 numbers of objects, in DAVIS' colours."""
    image = Image.fromarray(labels.astype(np.uint8), mode='P')
    image.putpalette(palette().flatten().tolist())
    _write(file, image)


def palette() -> np.ndarray:
    """(256, 3) uint8 colours of labels, as PASCAL VOC and DAVIS have them.

    The bits of a label are dealt out to red, green and blue, from the highest bit down.
    """
    labels = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = labels >> (3 * place + channel) & 1
            colours[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colours


def merge(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """One label for each pixel from the masks of several objects (spec 3.8).

    Args:
        probabilities: of each object (H, W) in 0..1; what is in none is the background's.

    Returns:
        (H, W) uint8, 0 for the background and k for the k-th object.
    """
    objects = np.stack(probabilities)
    background = np.prod(1 - objects, axis=0)
    return np.concatenate([background[None], objects]).argmax(axis=0).astype(np.uint8)


def zip_submission(folder: Path, target: Path) -> Path:
    """Pack a folder, under its own name, as CodaLab wants it; pictures are packed already."""
    scratch = target.with_suffix('.partial')
    with zipfile.ZipFile(scratch, 'w', zipfile.ZIP_STORED) as archive:
        for file in sorted(each for each in folder.rglob('*.png') if not is_clutter(each)):
            name = f'{folder.name}/{file.relative_to(folder).as_posix()}'
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), file.read_bytes())
    scratch.replace(target)
    return target


def _write(file: Path, image: Image.Image) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix('.partial')
    image.save(scratch, 'PNG')
    scratch.replace(file)
