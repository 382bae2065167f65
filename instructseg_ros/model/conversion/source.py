"""Finds the folder of a checkpoint to convert, and downloads it if it is on the hub."""

from __future__ import annotations

import json
import os
import threading
from http.client import HTTPException
from pathlib import Path
from ssl import SSLCertVerificationError
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from instructseg_ros.model.conversion.tensors import refuse_pickled
from instructseg_ros.model.model_files import CONFIG, ModelError, first_line, refuse_pointers

_PATTERNS: Final = ['*.json', '*.txt', '*.safetensors']  # files that conversion reads
_REQUEST_TIMEOUT: Final = 5.0  # seconds without a byte from the hub
_HUB_TIMEOUT: Final = 10.0  # seconds in total: a name look-up has no timeout
_FILES: Final = (
    'config.json, model.safetensors.index.json and every shard that it names, tokenizer.json, '
    'tokenizer_config.json, special_tokens_map.json, vocab.json, merges.txt, added_tokens.json'
)


def find_source(name: str) -> Path:
    """Return the folder of a checkpoint, downloaded from the hub if necessary.

    Without a network, a copy that was downloaded earlier is used.

    Args:
        name: A folder or a hub id.

    Raises:
        ModelError: There is no such folder and it cannot be downloaded; the message names the
            files to copy.
    """
    # os.path accepts any text; Path refuses unknown users and overlong names.
    folder = os.path.expanduser(name)
    if os.path.isdir(folder):
        return Path(folder)
    if os.path.isfile(folder):
        refuse_pickled(Path(folder))
        raise ModelError(f'{folder} is a file: name the folder of the checkpoint.')
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ModelError(
            f'there is no folder "{name}", and it is not a valid hub id. Name the folder with '
            f'{_FILES}; `hf download USER/MODEL --local-dir FOLDER` writes them.'
        ) from error
    if constants.HF_HUB_OFFLINE:
        return _downloaded_before(name, 'HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set')
    if not _hub_answers():
        return _downloaded_before(name, f'the hub ({constants.ENDPOINT}) does not answer')
    return _download(name)


def check_target(folder: Path) -> None:
    """Raise ModelError if a folder to be written is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f'{folder} is not empty: name a new folder.')


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config.json of a checkpoint.

    Raises:
        ModelError: The file is missing or damaged.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise ModelError(f'{folder} has no {CONFIG}: copy all files of the checkpoint into it.')
    refuse_pointers([file])
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f'{file} is damaged ({error}): copy it again.') from error


def _download(name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=_PATTERNS))
    except RepositoryNotFoundError as error:
        raise ModelError(
            f'there is neither a folder "{name}" here nor a model "{name}" on the hub that you may '
            f'read ({first_line(error)}). Check the name; for a private or gated model, run '
            '`hf auth login` first.'
        ) from error
    except Exception as error:  # raised by the hub's client, its transport or the disk
        raise ModelError(
            f'"{name}" cannot be downloaded ({type(error).__name__}: {first_line(error)}). Run the '
            'command again: finished files are not downloaded twice. Or run '
            f'`hf download {name} --local-dir FOLDER` and name FOLDER.'
        ) from error


def _downloaded_before(name: str, reason: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=_PATTERNS, local_files_only=True))
    except Exception as error:  # versions of the hub's client raise different errors
        raise ModelError(
            f'there is no folder "{name}", {reason}, and no complete copy was downloaded before. '
            f'On a machine with a network, run `hf download {name} --local-dir FOLDER`; then copy '
            f'FOLDER here ({_FILES}) and name it.'
        ) from error


def _hub_answers() -> bool:
    """Return within seconds whether the hub can be reached; its client would retry for a minute."""
    answered = threading.Event()
    # In a thread, because nothing else bounds the time of a name look-up.
    question = threading.Thread(target=_ask_hub, args=(answered,), daemon=True)
    question.start()
    question.join(_HUB_TIMEOUT)
    return answered.is_set()


def _ask_hub(answered: threading.Event) -> None:
    try:
        with urlopen(Request(constants.ENDPOINT, method='HEAD'), timeout=_REQUEST_TIMEOUT):
            answered.set()
    except HTTPError:  # also proves that the hub can be reached
        answered.set()
    except URLError as error:
        if isinstance(error.reason, SSLCertVerificationError):
            answered.set()  # the hub's client has its own certificates
    except (OSError, HTTPException, ValueError):
        pass  # ValueError: the endpoint is not an address
