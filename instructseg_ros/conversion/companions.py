"""Files of a checkpoint other than weights, kept so that the conversion can be reversed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from instructseg_ros.conversion.tensors import PICKLED

# Weights in formats that are not read, and files that may run code when they are.
NOT_KEPT: Final = (
    *PICKLED, '.safetensors', '.gguf', '.h5', '.msgpack', '.npz', '.onnx', '.onnx_data', '.ot',
    '.tflite',
)  # fmt: skip
# Written by git and by the hub's client next to the files of a checkpoint.
_BOOKKEEPING: Final = ('.git', '.cache')


def find_companions(folder: Path, weights: Collection[str]) -> tuple[list[str], list[str]]:
    """Find the files of a checkpoint beside its weights, also hidden ones and in folders.

    Args:
        folder: of the checkpoint.
        weights: names of the files of its weights.

    Returns:
        the files to keep, and what cannot be kept: other weights, pickled files, broken links and
        links to folders. Both as sorted paths below the folder.
    """
    kept: list[str] = []
    left: list[str] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _BOOKKEEPING]
        linked = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*files, *linked):
            file = Path(place, name)
            path = file.relative_to(folder).as_posix()
            if path in weights:
                continue
            sound = file.is_file() and file.suffix.lower() not in NOT_KEPT
            (kept if sound else left).append(path)
    return sorted(kept), sorted(left)


def copy_companions(paths: Iterable[str], source: Path, target: Path) -> None:
    """Copy files to the same paths below another folder, which everybody may then read."""
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target / path)


def stays_inside(path: str) -> bool:
    """Whether a path names something below the folder that it is joined to."""
    parts = PurePosixPath(path).parts
    return bool(parts) and '..' not in parts and not PurePosixPath(path).is_absolute()
