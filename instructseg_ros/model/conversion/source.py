"""Finds the files of a checkpoint: in a folder, or in the hub's cache on this machine."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Collection, Iterable
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from ssl import SSLCertVerificationError
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from instructseg_ros.model.conversion.tensors import PICKLED, refuse_pickled
from instructseg_ros.model.model_files import ModelError, first_line, refuse_pointers

# Weights in formats that are not read, and files that may run code when they are.
NOT_KEPT: Final = (
    *PICKLED,
    '.safetensors',
    '.gguf',
    '.h5',
    '.msgpack',
    '.npz',
    '.onnx',
    '.onnx_data',
    '.ot',
    '.tflite',
)
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


CONFIG: Final = 'config.json'
# Without a network, a copy from an earlier download must have these.
_NEEDED: Final = ('*.json', '*.txt', '*.safetensors')
_LEFT_OUT: Final = tuple(f'*{suffix}' for suffix in NOT_KEPT if suffix != '.safetensors')
_REQUEST_TIMEOUT: Final = 5.0  # seconds without a byte from the hub
_HUB_TIMEOUT: Final = 10.0  # seconds for all of it: looking a name up has no timeout of its own
_FILES: Final = (
    'config.json, model.safetensors.index.json and every shard that it names, tokenizer.json, '
    'tokenizer_config.json, special_tokens_map.json, vocab.json, merges.txt, added_tokens.json'
)


def find_source(name: str) -> Path:
    """The folder of a checkpoint, downloaded if it is the hub's and not here yet.

    Without a network, a copy that was downloaded before is taken; the hub is asked once, for
    seconds.

    Raises:
        ModelError: it is no folder and cannot be downloaded; the message names the files to copy.
    """
    # os.path takes any text; Path refuses unknown users and overlong names.
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
            f'there is no folder "{name}", nor can a hub id have this name. Name the folder with '
            f'{_FILES}; `hf download USER/MODEL --local-dir FOLDER` writes them.'
        ) from error
    if constants.HF_HUB_OFFLINE:
        return _downloaded_before(name, 'HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set')
    if not _hub_answers():
        return _downloaded_before(name, f'the hub ({constants.ENDPOINT}) does not answer')
    return _download(name)


def _download(name: str) -> Path:
    try:
        return Path(snapshot_download(name, ignore_patterns=list(_LEFT_OUT)))
    except RepositoryNotFoundError as error:
        raise ModelError(
            f'there is neither a folder "{name}" here nor a model "{name}" on the hub for you '
            f'({first_line(error)}). Check the name; for a private or gated model, run '
            '`hf auth login` first.'
        ) from error
    except Exception as error:  # of the hub, its transport or the disk
        raise ModelError(
            f'"{name}" cannot be downloaded ({type(error).__name__}: {first_line(error)}). Run the '
            'command again: what is here already is not downloaded twice. Or run '
            f'`hf download {name} --local-dir FOLDER` and name FOLDER.'
        ) from error


def _downloaded_before(name: str, reason: str) -> Path:
    try:
        folder = snapshot_download(name, allow_patterns=list(_NEEDED), local_files_only=True)
    except Exception as error:  # what the hub's client raises differs between its versions
        raise ModelError(
            f'there is no folder "{name}", {reason}, and no whole copy was downloaded before. On '
            f'a machine with a network, run `hf download {name} --local-dir FOLDER`; then copy '
            f'FOLDER here ({_FILES}) and name it.'
        ) from error
    return Path(folder)


def _hub_answers() -> bool:
    """Whether the hub can be reached, known within seconds.

    The hub's own client tries again for most of a minute.
    """
    answered = threading.Event()
    # In a thread, because nothing else bounds the time of looking a name up.
    question = threading.Thread(target=_ask_hub, args=(answered,), daemon=True)
    question.start()
    question.join(_HUB_TIMEOUT)
    return answered.is_set()


def _ask_hub(answered: threading.Event) -> None:
    try:
        with urlopen(Request(constants.ENDPOINT, method='HEAD'), timeout=_REQUEST_TIMEOUT):
            answered.set()
    except HTTPError:  # an answer too
        answered.set()
    except URLError as error:
        if isinstance(error.reason, SSLCertVerificationError):
            answered.set()  # the hub's client has certificates of its own
    except (OSError, HTTPException, ValueError):
        pass  # among them an endpoint that is no address


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
    refuse_pointers([file])
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f'{file} is damaged ({error}): copy it again.') from error
