"""Reads prediction files, and writes label images and submission files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from instructseg_ros.streaming.image_files import is_clutter, write_png

_ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)  # fixed, so that equal predictions give equal archives


def read_prediction(
    read: Callable[[Path], np.ndarray], file: Path, size: tuple[int, ...]
) -> np.ndarray:
    """Read a prediction file that must have the size of its frame.

    Args:
        read: `read_mask` or `read_labels` of `image_files`.
        file: The image.
        size: (height, width) of the frame.

    Returns:
        (H, W) values.

    Raises:
        ValueError: The file is damaged or has the wrong size; the message names it.
        FileNotFoundError: The file is missing.
    """
    values = read(file)
    if values.shape != size:
        raise ValueError(f'{file} has {values.shape} pixels and its frame {size} (height, width)')
    return values


def write_labels(file: Path, labels: np.ndarray) -> None:
    """Write a (H, W) uint8 label image with the palette of DAVIS."""
    image = Image.fromarray(labels.astype(np.uint8), mode='P')
    image.putpalette(palette().flatten().tolist())
    write_png(file, image)


def palette() -> np.ndarray:
    """Return the (256, 3) uint8 label colors of PASCAL VOC and DAVIS.

    The bits of a label, from the lowest on, go to red, green and blue in turn; each color is filled
    from its highest bit down.
    """
    labels = np.arange(256)
    colors = np.zeros((256, 3), dtype=np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = labels >> (3 * place + channel) & 1
            colors[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colors


def merge(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Assign each pixel to the most probable object or to the background.

    The background's probability is that no object covers the pixel, as in soft aggregation (Oh et
    al., "Video Object Segmentation using Space-Time Memory Networks", ICCV 2019).

    Args:
        probabilities: (H, W) in 0..1 for each object.

    Returns:
        (H, W) uint8, 0 for the background and k for the k-th object.
    """
    objects = np.stack(probabilities)
    background = np.prod(1 - objects, axis=0)
    return np.concatenate([background[None], objects]).argmax(axis=0).astype(np.uint8)


def zip_submission(folder: Path, target: Path) -> Path:
    """Pack the PNG files of a folder under its name, as CodaLab requires, without compression."""
    scratch = target.with_suffix('.partial')
    with zipfile.ZipFile(scratch, 'w', zipfile.ZIP_STORED) as archive:
        for file in sorted(each for each in folder.rglob('*.png') if not is_clutter(each)):
            name = f'{folder.name}/{file.relative_to(folder).as_posix()}'
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), file.read_bytes())
    scratch.replace(target)
    return target
