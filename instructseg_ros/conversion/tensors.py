"""Tensors of a folder of safetensors files, read one at a time and written shard by shard."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from instructseg_ros.model.checkpoints import ModelError

WEIGHTS: Final = 'model.safetensors'
INDEX: Final = f'{WEIGHTS}.index.json'
_SHARD_BYTES = 2**30
_CHUNK = 2**24
_PICKLED: Final = ('*.bin', '*.pth', '*.pt', '*.ckpt')
_BYTES: Final = {'F64': 8, 'F32': 4, 'F16': 2, 'BF16': 2, 'I64': 8, 'I32': 4, 'U8': 1, 'BOOL': 1}


class TensorFolder(contextlib.AbstractContextManager['TensorFolder']):
    """The tensors of some files; by default of `model.safetensors` or the shards of its index.

    Attributes:
        files: names of the safetensors files.
        shapes: of every tensor.

    Raises:
        ModelError: there are no such files, they are pickled, damaged or not all there.
    """

    def __init__(self, folder: Path, files: Sequence[str] | None = None) -> None:
        self.folder = folder
        self.files = weight_files(folder) if files is None else list(files)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.file_of: dict[str, str] = {}
        self._stack = contextlib.ExitStack()
        self._opened: dict[str, Any] = {}
        for file in self.files:
            self._open(file)
        if files is None:
            self._compare_with_index()

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, name: str) -> torch.Tensor:
        """The tensor of a name."""
        return self._opened[self.file_of[name]].get_tensor(name)

    def read_part(self, name: str, part: int, parts: int) -> torch.Tensor:
        """One of `parts` equal pieces of a tensor, cut along its first axis."""
        rows = self.shapes[name][0] // parts
        piece = self._opened[self.file_of[name]].get_slice(name)
        return piece[part * rows : (part + 1) * rows]

    def dtype_of(self, name: str) -> str:
        """Number format of a tensor, in safetensors' words: F32, F16..."""
        return str(self._opened[self.file_of[name]].get_slice(name).get_dtype())

    def bytes_of(self, name: str) -> int:
        """Size of a tensor."""
        piece = self._opened[self.file_of[name]].get_slice(name)
        count = 1
        for size in piece.get_shape():
            count *= size
        return count * _BYTES.get(self.dtype_of(name), 8)

    def metadata(self, file: str) -> dict[str, str] | None:
        """What stands in the header of a file beside its tensors."""
        return self._opened[file].metadata()

    def _compare_with_index(self) -> None:
        if not (self.folder / INDEX).is_file():
            return
        listed = _weight_map(self.folder)
        missing = [
            f'{name} is not in {file}' for name, file in listed.items() if name not in self.shapes
        ]
        extra = [f'{name} is not in {INDEX}' for name in self.shapes.keys() - listed.keys()]
        if missing or extra:
            raise ModelError(
                f'{self.folder} is not whole: {", ".join(sorted(missing + extra)[:3])}. Copy or '
                'download it again.'
            )

    def _open(self, file: str) -> None:
        try:
            opened = self._stack.enter_context(safe_open(self.folder / file, 'pt'))
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f'{self.folder / file} is missing, truncated or not a safetensors file ({error}): '
                'download it again.'
            ) from error
        self._opened[file] = opened
        for name in opened.keys():  # noqa: SIM118 (no mapping)
            self.shapes[name] = tuple(opened.get_slice(name).get_shape())
            self.file_of[name] = file


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
    (folder / INDEX).write_text(json.dumps(index, indent=2) + '\n')


def weight_files(folder: Path) -> list[str]:
    """Names of the safetensors files that hold a folder's weights.

    Raises:
        ModelError: there are none, or they are pickled.
    """
    if (folder / INDEX).is_file():
        return sorted(set(_weight_map(folder).values()))
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    pickled = [file.name for pattern in _PICKLED for file in folder.glob(pattern)]
    if pickled:
        raise ModelError(
            f'{folder} holds pickled weights ({", ".join(sorted(pickled)[:3])}), which are '
            'refused: they can run code when they are read. Use the release in safetensors, or let '
            'a machine that you trust with them write safetensors.'
        )
    raise ModelError(
        f'{folder} has no {INDEX} and no {WEIGHTS}: copy config.json, the index, every shard and '
        'the tokenizer files into it.'
    )


def save(
    tensors: Mapping[str, torch.Tensor], file: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file that everybody may read."""
    save_file(dict(tensors), file, None if metadata is None else dict(metadata))
    file.chmod(0o644)


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open('rb') as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _weight_map(folder: Path) -> dict[str, str]:
    """Tensor -> file, of an index."""
    try:
        files = dict(json.loads((folder / INDEX).read_text())['weight_map'])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f'{folder / INDEX} is damaged: download it again.') from error
    if outside := [file for file in files.values() if Path(str(file)).name != file]:
        raise ModelError(f'{folder / INDEX} names "{outside[0]}", which is not a file beside it.')
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
