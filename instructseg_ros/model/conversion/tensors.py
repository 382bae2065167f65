"""Reads tensors from safetensors files one at a time, and writes them shard by shard."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from instructseg_ros.model.model_files import (
    WEIGHTS,
    WEIGHTS_INDEX,
    ModelError,
    refuse_pointers,
    unreadable,
)

PICKLED: Final = ('.bin', '.pth', '.pt', '.ckpt', '.pkl', '.pickle')
_SHARD_BYTES: Final = 2**30
_BYTES: Final = {'F64': 8, 'F32': 4, 'F16': 2, 'BF16': 2, 'I64': 8, 'I32': 4, 'U8': 1, 'BOOL': 1}


class TensorSlice(NamedTuple):
    """One of `parts` equal pieces of a tensor, cut along its first axis."""

    name: str
    part: int = 0
    parts: int = 1


class TensorFolder:
    """The tensors in a folder's safetensors files; each file is mapped only while it is read.

    Args:
        folder: Folder of a checkpoint.
        files: Names of the files to read; None: `model.safetensors` or the shards of its index.

    Attributes:
        folder: The folder.
        shapes: Shape of every tensor, by name.

    Raises:
        ModelError: A file is missing, pickled or damaged, or the shards do not match the index.
    """

    def __init__(self, folder: Path, files: Sequence[str] | None = None) -> None:
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._files: dict[str, str] = {}
        self._dtypes: dict[str, str] = {}
        for file in weight_files(folder) if files is None else files:
            self._read_header(file)
        if files is None:
            self._compare_with_index()

    def read(self, piece: TensorSlice) -> torch.Tensor:
        """Read a tensor or a piece of it."""
        with safe_open(self.folder / self._files[piece.name], 'pt') as opened:
            if piece.parts == 1:
                return opened.get_tensor(piece.name)
            rows = self.shapes[piece.name][0] // piece.parts
            start = piece.part * rows
            return opened.get_slice(piece.name)[start : start + rows]

    def dtype_of(self, name: str) -> str:
        """Return the number format of a tensor as safetensors names it: F32, F16..."""
        return self._dtypes[name]

    def bytes_of(self, piece: TensorSlice) -> int:
        """Return the size of a tensor or a piece of it, in bytes."""
        whole = math.prod(self.shapes[piece.name]) * _BYTES.get(self.dtype_of(piece.name), 8)
        return whole // piece.parts

    def _read_header(self, file: str) -> None:
        refuse_pickled(self.folder / file)
        try:
            with safe_open(self.folder / file, 'pt') as opened:
                for name in opened.keys():  # noqa: SIM118 (no mapping)
                    self._add(name, file, opened.get_slice(name))
        except (SafetensorError, OSError) as error:
            raise unreadable(self.folder / file, error) from error

    def _add(self, name: str, file: str, header: Any) -> None:
        if name in self._files:
            raise ModelError(f'{self.folder}: {name} is in {self._files[name]} and in {file}.')
        self.shapes[name] = tuple(header.get_shape())
        self._dtypes[name] = str(header.get_dtype())
        self._files[name] = file

    def _compare_with_index(self) -> None:
        if not (self.folder / WEIGHTS_INDEX).is_file():
            return
        listed = _weight_map(self.folder)
        missing = [
            f'{name} is not in {file}' for name, file in listed.items() if name not in self.shapes
        ]
        extra = [f'{name} is not in {WEIGHTS_INDEX}' for name in self.shapes.keys() - listed.keys()]
        if missing or extra:
            raise ModelError(
                f'{self.folder}: {", ".join(sorted(missing + extra)[:3])}. {WEIGHTS_INDEX} and its '
                'files are not from the same checkpoint: copy or download the index again, then '
                'any file that still does not match it.'
            )


def weight_files(folder: Path) -> list[str]:
    """Return the names of the safetensors files that hold a folder's weights.

    Raises:
        ModelError: There are none, or they are pickled.
    """
    if (folder / WEIGHTS_INDEX).is_file():
        return sorted(set(_weight_map(folder).values()))
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    for file in sorted(folder.iterdir()):
        refuse_pickled(file)
    raise ModelError(
        f'{folder} has no {WEIGHTS_INDEX} and no {WEIGHTS}: copy config.json, the index, every '
        'shard and the tokenizer files into it.'
    )


def write_shards(
    folder: Path, sizes: Mapping[str, int], read: Callable[[str], torch.Tensor]
) -> None:
    """Write tensors to files of at most a gigabyte, plus an index if there are several files.

    Args:
        folder: Existing folder.
        sizes: Bytes of each tensor, in the order of writing.
        read: Returns the tensor of a name; only one file's tensors are held at a time.
    """
    split = split_state_dict_into_shards_factory(
        dict(sizes),
        get_storage_size=int,
        filename_pattern='model{suffix}.safetensors',
        max_shard_size=_SHARD_BYTES,
    )
    for file, names in split.filename_to_tensors.items():
        save({name: read(name).contiguous() for name in names}, folder / file)
    if split.is_sharded:
        index = {'metadata': split.metadata, 'weight_map': split.tensor_to_filename}
        (folder / WEIGHTS_INDEX).write_text(json.dumps(index, indent=2) + '\n')


def save(tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    """Write a safetensors file that every user may read.

    Raises:
        OSError: The file cannot be written.
    """
    try:
        save_file(dict(tensors), file, {'format': 'pt'})
    except SafetensorError as error:
        raise OSError(f'{file} cannot be written: {error}') from error
    file.chmod(0o644)


def refuse_pickled(file: Path) -> None:
    """Raise ModelError if a file is pickled, judging by its extension."""
    if file.suffix in PICKLED:
        raise ModelError(
            f'{file} is pickled and is refused: such files can run code when they are read. Use '
            'the release in safetensors, or convert it to safetensors on a machine where you would '
            'let it run code.'
        )


def _weight_map(folder: Path) -> dict[str, str]:
    """Return the file of each tensor, as the index lists it."""
    index = folder / WEIGHTS_INDEX
    refuse_pointers([index])
    try:
        files = dict(json.loads(index.read_text())['weight_map'])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f'{index} is damaged: download it again.') from error
    if outside := [file for file in files.values() if Path(str(file)).name != file]:
        raise ModelError(f'{index} names "{outside[0]}", which is not a file next to it.')
    return files
