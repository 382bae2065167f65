"""Masks as PNG files, one for each frame in a folder for each instruction."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from instructseg_ros.video.frame import Place
from instructseg_ros.video.record import Line


def write_pngs(lines: Iterable[Line], names: Sequence[str], folder: Path) -> None:
    """Write the masks (0 or 255; all 0 unless FOUND) of the instructions of those names.

    The files are called as the pictures they belong to, or by the number of the frame. Those that
    are there already stay.
    """
    for name in names:
        (folder / name).mkdir(exist_ok=True)
    for line in lines:
        files = [folder / name / f'{_stem(line.frame, line.place)}.png' for name in names]
        if not all(file.exists() for file in files):
            for file, answer in zip(files, line.segmentations(), strict=True):
                assert answer.mask is not None
                _save(answer.mask, file)


def _stem(frame: int, place: Place) -> str:
    return Path(place.name).stem if place.name else f'{frame:06d}'


def _save(mask: np.ndarray, file: Path) -> None:
    draft = file.with_suffix('.new')
    Image.fromarray(mask.astype(np.uint8) * 255).save(draft, 'PNG')
    os.replace(draft, file)
