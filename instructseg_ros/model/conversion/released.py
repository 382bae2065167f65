"""Converts the authors' checkpoint to this package's layout."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from transformers import PreTrainedTokenizerFast

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.conversion.released_layout import (
    EMBEDDINGS,
    describe,
    expected_shapes,
    is_unused,
    our_names,
    remedy,
)
from instructseg_ros.model.conversion.source import check_target, read_config
from instructseg_ros.model.conversion.tensors import TensorFolder, TensorSlice, save, write_shards
from instructseg_ros.model.model_files import (
    CONFIG,
    HEAD,
    HEAD_FILE,
    ModelError,
    first_line,
    refuse_pointers,
)
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.tasks import RELEASED as RELEASED_PROMPTS
from instructseg_ros.model.tasks import SEG_TOKEN

_CANVAS: Final = (1024, 1024)
_HALF: Final = {'F16': 'float16', 'BF16': 'bfloat16'}
_log = logging.getLogger(__name__)


def convert_released(source: Path, target: Path) -> None:
    """Convert a released checkpoint to the layout of `InstructSegModel.from_pretrained`.

    The language model's output head, which only text answers need, is written to a separate file.
    Tensors that segmentation does not use are skipped.

    Args:
        source: Folder with config.json, safetensors and tokenizer files.
        target: New or empty folder.

    Raises:
        ModelError: A file is missing, pickled or damaged, or a tensor is missing or of the wrong
            shape.
    """
    check_target(target)
    described = read_config(source)
    tensors = TensorFolder(source)
    config = describe(described, tensors.shapes)
    tokenizer = read_tokenizer(source)
    if tokenizer.convert_tokens_to_ids(SEG_TOKEN) in (None, tokenizer.unk_token_id):
        raise ModelError(
            f'the tokenizer in {source} has no {SEG_TOKEN}: copy added_tokens.json '
            'and tokenizer.json of the checkpoint.'
        )
    check_head(tensors, config, words=len(tokenizer))
    convert_weights(tensors, target, config)
    released_processor(tokenizer, config).save_pretrained(target)
    save({HEAD: tensors.read(TensorSlice(HEAD))}, target / HEAD_FILE)


def convert_weights(tensors: TensorFolder, target: Path, config: InstructSegConfig) -> None:
    """Write the tensors that segmentation uses, and the configuration.

    Raises:
        ModelError: A tensor is missing or does not have the shape that the configuration implies.
    """
    slices = find_slices(tensors, config)
    _check_shapes(slices, tensors, expected_shapes(config))
    target.mkdir(parents=True, exist_ok=True)
    sizes = {ours: tensors.bytes_of(piece) for ours, piece in slices.items()}
    write_shards(target, sizes, lambda ours: tensors.read(slices[ours]))
    config.architectures = [InstructSegModel.__name__]
    config.dtype = torch.float32
    config.language_dtype = _HALF.get(tensors.dtype_of(EMBEDDINGS))
    config.save_pretrained(target)


def find_slices(tensors: TensorFolder, config: InstructSegConfig) -> dict[str, TensorSlice]:
    """Map each of the model's tensors to the released tensor, or part of one, that it comes from.

    Released tensors that the model lacks are skipped; a warning lists those that are not known from
    the release either.

    Raises:
        ModelError: Two released tensors map to the same tensor of the model.
    """
    layers = config.vision_config.num_hidden_layers
    known = expected_shapes(config)
    slices: dict[str, TensorSlice] = {}
    unknown = []
    for name, shape in tensors.shapes.items():
        names = our_names(name, vision_layers=layers)
        if not names or not all(ours in known for ours in names):
            if not is_unused(name, vision_layers=layers):
                unknown.append(f'{name} {shape}')
            continue
        if taken := [slices[ours].name for ours in names if ours in slices]:
            raise _error(tensors, 'two tensors for the same part of the model', [taken[0], name])
        for part, ours in enumerate(names):
            slices[ours] = TensorSlice(name, part, len(names))
    if unknown:
        _log.warning(
            '%s has %d tensors that InstructSeg does not use; they are left out: %s',
            tensors.folder,
            len(unknown),
            _listed(unknown, 100),
        )
    return slices


def check_complete(
    slices: Mapping[str, TensorSlice], tensors: TensorFolder, wanted: Iterable[str]
) -> None:
    """Raise ModelError if the checkpoint lacks one of the required tensors of the model."""
    if missing := [ours for ours in wanted if ours not in slices]:
        raise _error(tensors, 'no tensors for', missing)


def check_head(tensors: TensorFolder, config: InstructSegConfig, *, words: int) -> None:
    """Raise ModelError unless the output head and the embeddings have a row for every word."""
    if HEAD not in tensors.shapes:
        raise _error(tensors, 'no tensors for', [HEAD])
    for name in (HEAD, EMBEDDINGS):
        shape = tensors.shapes[name]
        if len(shape) != 2 or shape[0] < words or shape[1] != config.hidden_size:
            problem = f'{name} {shape} instead of at least ({words}, {config.hidden_size})'
            raise _error(tensors, 'tensors of the wrong shape', [problem])


def read_tokenizer(source: Path) -> PreTrainedTokenizerFast:
    """Load a checkpoint's tokenizer.

    Raises:
        ModelError: The tokenizer does not load.
    """
    refuse_pointers(source.glob('*.json'))
    try:
        return PreTrainedTokenizerFast.from_pretrained(source, local_files_only=True)
    except Exception as error:  # a damaged file raises errors of up to two libraries
        raise ModelError(
            f'{source} has no tokenizer that loads ({first_line(error)}): copy tokenizer.json and '
            'tokenizer_config.json of the checkpoint into it.'
        ) from error


def released_processor(
    tokenizer: PreTrainedTokenizerFast, config: InstructSegConfig
) -> InstructSegProcessor:
    """Return the processor of a model in the released layout."""
    tokenizer.clean_up_tokenization_spaces = False  # unused here, but transformers warns about it
    sizes = ProcessorConfig.from_model(config, mask_size=_CANVAS, prompts=RELEASED_PROMPTS)
    return InstructSegProcessor(tokenizer, sizes)


def _check_shapes(
    slices: Mapping[str, TensorSlice], tensors: TensorFolder, wanted: Mapping[str, tuple[int, ...]]
) -> None:
    check_complete(slices, tensors, wanted)
    misfits = {}
    for ours, (name, _, parts) in slices.items():
        rows, *rest = wanted[ours]
        if tensors.shapes[name] != (rows * parts, *rest):
            misfits[name] = f'{name} {tensors.shapes[name]} instead of {(rows * parts, *rest)}'
    if misfits:
        raise _error(tensors, 'tensors of the wrong shape', list(misfits.values()))


def _error(tensors: TensorFolder, problem: str, names: Sequence[str]) -> ModelError:
    has_config = (tensors.folder / CONFIG).is_file()
    model_type = read_config(tensors.folder).get('model_type') if has_config else None
    advice = remedy(model_type, tensors.shapes)
    return ModelError(f'{tensors.folder} has {problem}: {_listed(names, 5)}. {advice}')


def _listed(names: Sequence[str], most: int) -> str:
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more
