"""Tensors of a folder of safetensors files, read one at a time and written shard by shard."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from instructseg_ros.model.model_files import (
    WEIGHTS,
    WEIGHTS_INDEX,
    ModelError,
    refuse_pointers,
    unreadable,
)

_SHARD_BYTES = 2**30
PICKLED: Final = ('.bin', '.pth', '.pt', '.ckpt', '.pkl', '.pickle')
_BYTES: Final = {'F64': 8, 'F32': 4, 'F16': 2, 'BF16': 2, 'I64': 8, 'I32': 4, 'U8': 1, 'BOOL': 1}


class TensorFolder:
    """The tensors of some files; by default of `model.safetensors` or the shards of its index.

    A file is mapped into memory only while one of its tensors is read.

    Attributes:
        files: names of the safetensors files.
        shapes: of every tensor.
        file_of: where each tensor stands.

    Raises:
        ModelError: there are no such files, they are pickled, damaged or not all there.
    """

    def __init__(self, folder: Path, files: Sequence[str] | None = None) -> None:
        self.folder = folder
        self.files = weight_files(folder) if files is None else list(files)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.file_of: dict[str, str] = {}
        self._dtypes: dict[str, str] = {}
        self._metadata: dict[str, dict[str, str] | None] = {}
        for file in self.files:
            self._read_header(file)
        if files is None:
            self._compare_with_index()

    def read(self, name: str) -> torch.Tensor:
        """The tensor of a name."""
        with self._opened(name) as opened:
            return opened.get_tensor(name)

    def read_part(self, name: str, part: int, parts: int) -> torch.Tensor:
        """One of `parts` equal pieces of a tensor, cut along its first axis."""
        rows = self.shapes[name][0] // parts
        with self._opened(name) as opened:
            return opened.get_slice(name)[part * rows : (part + 1) * rows]

    def dtype_of(self, name: str) -> str:
        """Number format of a tensor, in safetensors' words: F32, F16..."""
        return self._dtypes[name]

    def bytes_of(self, name: str) -> int:
        """Size of a tensor."""
        return math.prod(self.shapes[name]) * _BYTES.get(self.dtype_of(name), 8)

    def metadata(self, file: str) -> dict[str, str] | None:
        """What stands in the header of a file beside its tensors."""
        return self._metadata[file]

    def _opened(self, name: str) -> Any:
        if name not in self.file_of:
            raise ModelError(
                f'{self.folder} has no tensor {name}, which it was converted with: convert the '
                'release again.'
            )
        return safe_open(self.folder / self.file_of[name], 'pt')

    def _read_header(self, file: str) -> None:
        refuse_pickled(self.folder / file)
        try:
            with safe_open(self.folder / file, 'pt') as opened:
                self._metadata[file] = opened.metadata()
                for name in opened.keys():  # noqa: SIM118 (no mapping)
                    self._add(name, file, opened.get_slice(name))
        except (SafetensorError, OSError) as error:
            raise unreadable(self.folder / file, error) from error

    def _add(self, name: str, file: str, piece: Any) -> None:
        if name in self.file_of:
            raise ModelError(f'{self.folder}: {name} is in {self.file_of[name]} and in {file}.')
        self.shapes[name] = tuple(piece.get_shape())
        self._dtypes[name] = str(piece.get_dtype())
        self.file_of[name] = file

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
                f'{self.folder}: {", ".join(sorted(missing + extra)[:3])}. {WEIGHTS_INDEX} and the '
                'files that it names are not of one checkpoint: copy or download the index again, '
                'and then the files that still do not fit it.'
            )


def write_shards(
    folder: Path, sizes: Mapping[str, int], read: Callable[[str], torch.Tensor]
) -> None:
    """Write tensors to a folder in files of about a gigabyte, with their index.

    Args:
        sizes: bytes of each tensor, in the order of writing.
        read: gives the tensor of a name; only one file's tensors are held at a time.
    """
    shards = list(_grouped(sizes))
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f'model-{number:05}-of-{len(shards):05}.safetensors'
        tensors = {name: read(name).contiguous() for name in names}
        save(tensors, folder / file, {'format': 'pt'})
        weight_map |= dict.fromkeys(names, file)
    index = {'metadata': {'total_size': sum(sizes.values())}, 'weight_map': weight_map}
    (folder / WEIGHTS_INDEX).write_text(json.dumps(index, indent=2) + '\n')


def weight_files(folder: Path) -> list[str]:
    """Names of the safetensors files that hold a folder's weights.

    Raises:
        ModelError: there are none, or they are pickled.
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


def save(
    tensors: Mapping[str, torch.Tensor], file: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file that everybody may read.

    Raises:
        OSError: it cannot be written.
    """
    try:
        save_file(dict(tensors), file, None if metadata is None else dict(metadata))
    except SafetensorError as error:
        raise OSError(f'{file} cannot be written: {error}') from error
    file.chmod(0o644)


def refuse_pickled(file: Path) -> None:
    """Raise ModelError where a name says that a file is pickled."""
    if file.suffix in PICKLED:
        raise ModelError(
            f'{file} is pickled and is refused: such files can run code when they are read. Use '
            'the release in safetensors, or let a machine that you trust with it write safetensors.'
        )


def _weight_map(folder: Path) -> dict[str, str]:
    """Tensor -> file, of an index."""
    refuse_pointers([folder / WEIGHTS_INDEX])
    try:
        files = dict(json.loads((folder / WEIGHTS_INDEX).read_text())['weight_map'])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f'{folder / WEIGHTS_INDEX} is damaged: download it again.') from error
    if outside := [file for file in files.values() if Path(str(file)).name != file]:
        raise ModelError(
            f'{folder / WEIGHTS_INDEX} names "{outside[0]}", which is not a file beside it.'
        )
    return files


def _grouped(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    group: list[str] = []
    total = 0
    for name, size in sizes.items():
        if group and total + size > _SHARD_BYTES:
            yield group
            group, total = [], 0
        group.append(name)
        total += size
    if group:
        yield group
