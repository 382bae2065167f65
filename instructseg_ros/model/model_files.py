"""The files of a model folder: finding them, checking their integrity, and hashing the model.

Imports neither torch nor transformers, so that commands can refuse a bad folder at once.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

EMBEDDED: Final = 'embedded'  # the name of the model inside this package
CONFIG: Final = 'config.json'
PROCESSOR: Final = 'processor_config.json'
LOOK_ALIKES: Final = 'look_alikes.txt'  # see `InstructSegProcessor`
NOUN_WEIGHTS: Final = 'nouns.safetensors'  # see `noun_finder.py`; only in the embedded model
NOUNS: Final = 'nouns.json'
PARSER_WEIGHTS: Final = 'parser.safetensors'  # see `instruction_parser.py`; likewise
TAUGHT_WEIGHTS: Final = 'taught.safetensors'  # see `taught_network.py`; only after a teaching
TAUGHT: Final = 'taught.json'
WEIGHTS: Final = 'model.safetensors'
WEIGHTS_INDEX: Final = 'model.safetensors.index.json'
HEAD_FILE: Final = 'lm_head.safetensors'  # only in models that can generate text
HEAD: Final = 'lm_head.weight'
MANIFEST: Final = 'SHA256SUMS'

_SHIPPED: Final = Path(__file__).parent.parent / 'models' / EMBEDDED
_MANIFEST_LINE: Final = re.compile(r'([0-9a-f]{64}) [ *]([^/\\]+)')
_LFS_POINTER: Final = b'version https://git-lfs'
_CHUNK: Final = 1 << 20


class ModelError(ValueError):
    """A model cannot be found or loaded; the message says how to fix it."""


def find_model(model: str) -> Path:
    """Return the folder of a model: `embedded`, a path, or a hub id downloaded earlier.

    Raises:
        ModelError: The folder does not exist or lacks a file, or a file is a git-lfs pointer.
    """
    # os.path accepts any text; Path refuses unknown users and overlong names.
    folder = _SHIPPED if model == EMBEDDED else Path(os.path.expanduser(model))
    if not os.path.isdir(folder):
        folder = _downloaded(model)
    for name in (CONFIG, PROCESSOR):
        if not (folder / name).is_file():
            raise ModelError(
                f'{folder} is not a model folder: it has no {name}. Name a folder that '
                "save_pretrained wrote or `instructseg convert` made from the authors' checkpoint, "
                f'or use the model "{EMBEDDED}".'
            )
    if not (folder / WEIGHTS).is_file() and not (folder / WEIGHTS_INDEX).is_file():
        raise ModelError(f'{folder} has no {WEIGHTS}: copy the weights into it.')
    refuse_pointers(model_files(folder))
    return folder


def model_files(folder: Path) -> list[Path]:
    """Return the files that a model is loaded from, without hidden ones such as macOS' `._*`."""
    return sorted(
        file
        for file in folder.iterdir()
        if (file.suffix in ('.json', '.safetensors') or file.name == LOOK_ALIKES)
        and not file.name.startswith('.')
    )


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files among a model's files."""
    return [file for file in model_files(folder) if file.suffix == '.safetensors']


def write_manifest(folder: Path) -> None:
    """Write the hashes of a model's files to SHA256SUMS, in the format of `sha256sum`."""
    lines = [f'{sha256(file)}  {file.name}\n' for file in model_files(folder)]
    (folder / MANIFEST).write_text(''.join(lines))


def check_manifest(folder: Path) -> None:
    """Compare a model's files with its SHA256SUMS, if there is one.

    Raises:
        ModelError: A file was changed, added or removed, or SHA256SUMS is damaged.
    """
    refuse_pointers(model_files(folder))
    if not (folder / MANIFEST).is_file():
        return
    listed = _read_manifest(folder)
    for name, wanted in listed.items():
        file = folder / name
        if not file.is_file():
            raise _manifest_error(folder, f'{name} is listed in {MANIFEST} but missing')
        if sha256(file) != wanted:
            raise _manifest_error(folder, f'{name} does not have the hash listed in {MANIFEST}')
    for file in model_files(folder):
        if file.name not in listed:
            raise _manifest_error(folder, f'{file.name} is not listed in {MANIFEST}')


def model_hash(folder: Path) -> str:
    """Return a hash that identifies a model by the content of its files, whatever its folder.

    Hashes of files come from SHA256SUMS if it exists: loading the model checks them anyway, and
    hashing 7 GB takes seconds.

    Returns:
        SHA-256 of the files' names and hashes, in hexadecimal.

    Raises:
        ModelError: SHA256SUMS is damaged.
    """
    hashes = _read_manifest(folder) if (folder / MANIFEST).is_file() else {}
    lines = [
        f'{hashes.get(file.name) or sha256(file)}  {file.name}\n' for file in model_files(folder)
    ]
    return hashlib.sha256(''.join(lines).encode()).hexdigest()


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open('rb') as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_lfs_pointer(file: Path) -> bool:
    """Return whether a file is a git-lfs pointer instead of the content."""
    with file.open('rb') as stream:
        return stream.read(len(_LFS_POINTER)) == _LFS_POINTER


def explain_lfs_pointer(file: Path) -> str:
    """Return the error message for a git-lfs pointer, with the remedy."""
    return f'{file} is only a git-lfs pointer: run `git lfs pull` in {file.parent}'


def refuse_pointers(files: Iterable[Path]) -> None:
    """Raise ModelError if one of the files is a git-lfs pointer."""
    for file in files:
        if file.is_file() and is_lfs_pointer(file):
            raise ModelError(f'{explain_lfs_pointer(file)}.')


def unreadable(file: Path, error: Exception) -> ModelError:
    """Return the error for a safetensors file that cannot be opened; it names the cause."""
    if not file.is_file():
        return ModelError(f'{file} is missing: copy or download it.')
    if is_lfs_pointer(file):
        return ModelError(f'{explain_lfs_pointer(file)}.')
    return ModelError(
        f'{file} is truncated or not a safetensors file ({first_line(error)}): copy or download '
        'it again.'
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without a library's explanations."""
    return str(error).strip().split('\n', maxsplit=1)[0]


def _read_manifest(folder: Path) -> dict[str, str]:
    listed = {}
    lines = (folder / MANIFEST).read_text(errors='replace').splitlines()
    for number, line in enumerate(lines, 1):
        match = _MANIFEST_LINE.fullmatch(line)
        if match is None:
            problem = f'line {number} of {MANIFEST} is not a hash and a file name'
            raise _manifest_error(folder, problem)
        listed[match[2]] = match[1]
    return listed


def _manifest_error(folder: Path, problem: str) -> ModelError:
    return ModelError(
        f'{folder}: {problem}. Copy the whole folder again; if you changed it yourself, write '
        f'{MANIFEST} again: sha256sum *.json *.safetensors > {MANIFEST}'
    )


def _downloaded(model: str) -> Path:
    # Importing the hub's client takes longer than everything else here.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise ModelError(
            f'there is no model folder "{model}", and no complete model of this name was '
            'downloaded before; loading never uses the network. Name an existing folder or a hub '
            f'id downloaded with `hf download`, or use "{EMBEDDED}".'
        ) from error
