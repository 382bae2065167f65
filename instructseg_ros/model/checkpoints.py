"""Finding and loading a model's folder, with errors that name the remedy."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers.utils import logging

from instructseg_ros.model.manifest import (
    MANIFEST,
    ManifestError,
    check_manifest,
    explain_lfs_pointer,
    is_lfs_pointer,
    pinned_files,
)

if TYPE_CHECKING:
    import torch

    from instructseg_ros.model.configuration import InstructSegConfig
    from instructseg_ros.model.modeling import InstructSegModel
    from instructseg_ros.model.precision import Precision
    from instructseg_ros.model.processor import InstructSegProcessor

EMBEDDED: Final = 'embedded'
_SHIPPED = Path(__file__).parent.parent / 'models' / EMBEDDED
_CONFIG = 'config.json'
WEIGHTS: Final = 'model.safetensors'
WEIGHTS_INDEX: Final = 'model.safetensors.index.json'
HEAD_FILE: Final = 'lm_head.safetensors'  # of the language model; where text can be generated
HEAD: Final = 'lm_head.weight'
CONVERTED: Final = 'released/manifest.json'  # of a model converted from the authors' checkpoint
_PROCESSOR = 'processor_config.json'
_MODEL_TYPE = 'instructseg'


class ModelError(ValueError):
    """A model cannot be found or loaded; the message says what to do."""


def find_model(model: str) -> Path:
    """Return the folder of a model: `embedded`, a path, or a hub id that was downloaded before.

    Raises:
        ModelError: there is no such folder, it lacks a file that a model has, or a file is only a
            pointer of git-lfs.
    """
    # os.path takes any text; Path refuses unknown users and overlong names.
    folder = _SHIPPED if model == EMBEDDED else Path(os.path.expanduser(model))
    if not os.path.isdir(folder):
        folder = _downloaded(model)
    for name in (_CONFIG, _PROCESSOR):
        if not (folder / name).is_file():
            raise ModelError(
                f'{folder} is not a model folder: it has no {name}. Name a folder written by '
                "save_pretrained or, from the authors' checkpoint, by `instructseg convert`; or "
                f'use the model "{EMBEDDED}".'
            )
    if not (folder / WEIGHTS).is_file() and not (folder / WEIGHTS_INDEX).is_file():
        raise ModelError(f'{folder} has no {WEIGHTS}: copy the weights into it.')
    refuse_pointers(pinned_files(folder))
    return folder


def load_model(
    folder: Path, precision: Precision | None = None
) -> tuple[InstructSegModel, InstructSegProcessor]:
    """Load model and processor from a folder.

    Args:
        precision: number formats, whatever those of the files are; None: float32.

    Raises:
        ModelError: a file is truncated, or not the one that the folder's manifest names; a tensor
            is missing, extra or of another shape; int8 needs a library that is not installed, or
            float16 cannot hold a weight.
    """
    from instructseg_ros.model.configuration import InstructSegConfig
    from instructseg_ros.model.modeling import InstructSegModel
    from instructseg_ros.model.precision import Precision, quantize_weights, round_to_float16
    from instructseg_ros.model.processor import InstructSegProcessor

    _check_hashes(folder)
    _check_description(folder)
    _check_weights(folder)
    try:
        with quiet():
            config = InstructSegConfig.from_pretrained(folder, local_files_only=True)
            precision = precision or Precision()
            config.language_dtype = str(precision.language).removeprefix('torch.')
            # Mismatches are reported, not raised, so that they can be named.
            model, report = InstructSegModel.from_pretrained(
                folder,
                config=config,
                dtype=precision.dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                local_files_only=True,
                use_safetensors=True,
            )
        processor = InstructSegProcessor.from_pretrained(folder)
    except Exception as error:  # what a damaged file raises is up to three libraries
        raise _does_not_load(folder, first_line(error)) from error
    _check_report(folder, report)
    _check_processor(folder, processor, model.config)
    if precision.int8:
        quantize_weights(model)
    if precision.rounded:
        round_to_float16(model, folder)
    return model.eval(), processor


def load_head(folder: Path) -> torch.Tensor:
    """(rows, D) head of a model's language model.

    Raises:
        ModelError: the model has none.
    """
    file = folder / HEAD_FILE
    if not file.is_file():
        raise ModelError(
            f'{folder} has no {HEAD_FILE}: this model generates no text. Models that '
            '`instructseg convert` made of the release do.'
        )
    try:
        return load_file(file)[HEAD]
    except (SafetensorError, OSError, KeyError) as error:
        raise _does_not_load(folder, f'{HEAD_FILE}: {first_line(error)}') from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no tables on the console of a robot: problems are raised instead."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """What an error says, without a library's explanations."""
    return str(error).strip().split('\n', maxsplit=1)[0]


def unreadable(file: Path, error: Exception) -> ModelError:
    """The error of a safetensors file that does not open, with what is wrong with it."""
    if not file.is_file():
        return ModelError(f'{file} is missing: copy or download it.')
    if is_lfs_pointer(file):
        return ModelError(f'{explain_lfs_pointer(file)}.')
    return ModelError(
        f'{file} is truncated or not a safetensors file ({first_line(error)}): copy or download '
        'it again.'
    )


def refuse_pointers(files: Iterable[Path]) -> None:
    """Raise ModelError where git-lfs left only a pointer in place of a file."""
    for file in files:
        if file.is_file() and is_lfs_pointer(file):
            raise ModelError(f'{explain_lfs_pointer(file)}.')


def _check_hashes(folder: Path) -> None:
    refuse_pointers(pinned_files(folder))
    try:
        check_manifest(folder)
    except ManifestError as error:
        raise ModelError(
            f'{folder}: {error}. Copy the whole folder again; or where you changed it yourself, '
            f'write {MANIFEST} anew: sha256sum *.json *.safetensors > {MANIFEST}'
        ) from error


def _check_description(folder: Path) -> None:
    """Another model's description would be read as one of the released size: 14 GB of memory."""
    try:
        values = json.loads((folder / _CONFIG).read_text())
        kind = values.get('model_type') if isinstance(values, dict) else None
    except (OSError, ValueError) as error:
        raise _does_not_load(folder, f'{_CONFIG}: {first_line(error)}') from error
    if kind != _MODEL_TYPE:
        raise _does_not_load(folder, f'{_CONFIG} has no "model_type": "{_MODEL_TYPE}"')


def _check_report(folder: Path, report: Mapping[str, Collection[Any]]) -> None:
    for problem in ('missing_keys', 'unexpected_keys', 'mismatched_keys'):
        if report[problem]:
            names = ', '.join(str(name) for name in sorted(report[problem])[:3])
            raise ModelError(
                f'{folder}: {problem.replace("_", " ")} in the weights ({names}). They do not fit '
                'its config.json: copy the whole folder again.'
            )


def _check_processor(
    folder: Path, processor: InstructSegProcessor, config: InstructSegConfig
) -> None:
    mine, wanted = processor.config, config
    pairs = {
        'vision_size': (mine.vision_size, wanted.vision_config.image_size),
        'image_tokens': (mine.image_tokens, wanted.image_tokens),
        'num_latents': (mine.num_latents, wanted.num_latents),
        'num_queries': (mine.num_queries, wanted.num_queries),
    }
    for name, (value, right) in pairs.items():
        if value != right:
            raise _does_not_load(
                folder, f'{_PROCESSOR} has {name} {value}, and {_CONFIG} makes it {right}'
            )


def _does_not_load(folder: Path, reason: str) -> ModelError:
    return ModelError(f'{folder} does not load: {reason}. Copy the whole folder again.')


def _check_weights(folder: Path) -> None:
    for file in sorted(folder.glob('[!.]*.safetensors')):
        try:
            with safe_open(file, 'pt') as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise unreadable(file, error) from error


def _downloaded(model: str) -> Path:
    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise ModelError(
            f'there is no model folder "{model}", and no whole model of this name was downloaded '
            'before; loading asks no network. Name an existing folder or a hub id downloaded with '
            f'`hf download`, or use "{EMBEDDED}".'
        ) from error
