"""Loads a model and its processor from a folder; errors name the file and the fix."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers.utils import logging

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.model_files import (
    CONFIG,
    HEAD,
    HEAD_FILE,
    PROCESSOR,
    ModelError,
    check_manifest,
    first_line,
    unreadable,
    weight_files,
)
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.precision import Precision, quantize_weights, round_to_float16
from instructseg_ros.model.processor import InstructSegProcessor

_MODEL_TYPE: Final = InstructSegConfig.model_type


def load_model(
    folder: Path, precision: Precision | None = None
) -> tuple[InstructSegModel, InstructSegProcessor]:
    """Load model and processor from a folder.

    Args:
        folder: Folder returned by `find_model`.
        precision: Number formats to convert the weights to; None: float32.

    Raises:
        ModelError: A file is truncated or does not match SHA256SUMS; a tensor is missing,
            unexpected or of the wrong shape; int8 needs a library that is not installed; or
            float16 cannot represent a weight.
    """
    check_manifest(folder)
    _check_description(folder)
    _check_weights(folder)
    precision = precision or Precision()
    try:
        with quiet():
            config = InstructSegConfig.from_pretrained(folder, local_files_only=True)
            stored = config.language_dtype
            config.language_dtype = str(precision.language).removeprefix('torch.')
            # Mismatches are reported instead of raised, so that the error can name them.
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
    except Exception as error:  # a damaged file raises errors of up to three libraries
        raise _does_not_load(folder, first_line(error)) from error
    _check_report(folder, report)
    _check_processor(folder, processor, model.config)
    if precision.int8:
        quantize_weights(model)
    if precision.rounded:
        round_to_float16(model, folder, is_release=stored == 'float16')
    return model.eval(), processor


def load_head(folder: Path) -> torch.Tensor:
    """Load the language model's output head, (rows, D).

    Raises:
        ModelError: The model has no head, or its file is damaged.
    """
    file = folder / HEAD_FILE
    if not file.is_file():
        raise ModelError(
            f'{folder} has no {HEAD_FILE}: this model generates no text. Models that '
            '`instructseg convert` made from the release do.'
        )
    try:
        return load_file(file)[HEAD]
    except (SafetensorError, OSError, KeyError) as error:
        raise _does_not_load(folder, f'{HEAD_FILE}: {first_line(error)}') from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and reports; problems are raised as errors instead."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


def _check_description(folder: Path) -> None:
    """Refuse another model's config.json, which defaults would turn into the 14 GB release."""
    try:
        values = json.loads((folder / CONFIG).read_text())
        model_type = values.get('model_type') if isinstance(values, dict) else None
    except (OSError, ValueError) as error:
        raise _does_not_load(folder, f'{CONFIG}: {first_line(error)}') from error
    if model_type != _MODEL_TYPE:
        raise _does_not_load(folder, f'{CONFIG} has no "model_type": "{_MODEL_TYPE}"')


def _check_weights(folder: Path) -> None:
    for file in weight_files(folder):
        try:
            with safe_open(file, 'pt') as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise unreadable(file, error) from error


def _check_report(folder: Path, report: Mapping[str, Collection[Any]]) -> None:
    for problem in ('missing_keys', 'unexpected_keys', 'mismatched_keys'):
        if report[problem]:
            names = ', '.join(str(name) for name in sorted(report[problem])[:3])
            raise ModelError(
                f'{folder}: {problem.replace("_", " ")} in the weights ({names}). Weights and '
                'config.json do not match: copy the whole folder again.'
            )


def _check_processor(
    folder: Path, processor: InstructSegProcessor, config: InstructSegConfig
) -> None:
    wanted = {
        'vision_size': config.vision_config.image_size,
        'image_tokens': config.image_tokens,
        'num_latents': config.num_latents,
        'num_queries': config.num_queries,
    }
    for name, right in wanted.items():
        value = getattr(processor.config, name)
        if value != right:
            raise _does_not_load(
                folder, f'{PROCESSOR} has {name} {value}, but {CONFIG} implies {right}'
            )


def _does_not_load(folder: Path, reason: str) -> ModelError:
    return ModelError(f'{folder} cannot be loaded: {reason}. Copy the whole folder again.')
