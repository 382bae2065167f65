"""Where a checkpoint is read from: a folder, or the hub's copy on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from huggingface_hub import snapshot_download

from instructseg_ros.conversion.tensors import refuse_pickled
from instructseg_ros.model.checkpoints import ModelError, first_line

# Nothing that could be run or unpickled.
_FILES: Final = ('*.json', '*.txt', '*.md', '*.safetensors')
CONFIG: Final = 'config.json'


def find_source(name: str) -> Path:
    """The folder of a checkpoint, downloaded if it is the hub's and not here yet.

    Raises:
        ModelError: it is no folder and cannot be downloaded; the message names the files to copy.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        refuse_pickled(folder)
        raise ModelError(f'{folder} is a file: name the folder of the checkpoint.')
    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except Exception as error:  # of the hub, its transport or the disk
        raise ModelError(
            f'there is no folder "{name}", and the hub does not give it ({first_line(error)}). '
            f'On a machine with a network, run `hf download {name} --local-dir FOLDER`; then copy '
            'FOLDER here (config.json, model.safetensors.index.json and every shard that it '
            'names, tokenizer.json, tokenizer_config.json, special_tokens_map.json, vocab.json, '
            'merges.txt, added_tokens.json) and name it.'
        ) from error


def check_target(folder: Path) -> None:
    """Raise ModelError where a folder to be written is in use."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f'{folder} is not empty: name a new folder.')


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a checkpoint.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise ModelError(f'{folder} has no {CONFIG}: copy all files of the checkpoint into it.')
    return read_json(file)


def read_json(file: Path) -> dict[str, Any]:
    """An object of a JSON file.

    Raises:
        ModelError: it is damaged.
    """
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f'{file} is damaged ({error}): copy it again.') from error
