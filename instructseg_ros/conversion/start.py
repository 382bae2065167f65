"""What the paper's training begins with: Mipha-3B and a Mask2Former (spec 6)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import torch
from torch import nn
from transformers import Mask2FormerConfig

from instructseg_ros.conversion.description import (
    expected_shapes,
    named_errors,
    text_sizes,
    vision_sizes,
)
from instructseg_ros.conversion.mask2former import mask_branch_of
from instructseg_ros.conversion.released import (
    EMBEDDINGS,
    check_head,
    check_places,
    listed,
    places_of,
    processor_of,
    read_tokenizer,
    unknown_tensors,
)
from instructseg_ros.conversion.source import check_target, read_config
from instructseg_ros.conversion.tensors import TensorFolder, save
from instructseg_ros.model.checkpoints import HEAD, HEAD_FILE, ModelError, quiet
from instructseg_ros.model.configuration import InstructSegConfig, MaskConfig
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.prompts import SEG_TOKEN

_QUERIES = 100
_log = logging.getLogger(__name__)
_FROM_BASE: Final = ('vision_tower.', 'projector.', 'language_model.')


def write_start(
    base: Path, mask2former: Path, target: Path, *, num_queries: int = _QUERIES, seed: int = 0
) -> None:
    """Write a model whose parts are pretrained where the paper's are, and random elsewhere.

    Held in memory as float32: 14 GB for Mipha-3B.

    Args:
        base: Mipha's folder: config.json, safetensors and tokenizer.
        mask2former: folder of a Mask2Former with a Swin backbone, in transformers' layout.
        target: new or empty folder.
        num_queries: mask tokens.
        seed: of the random weights.

    Raises:
        ModelError: a folder does not load, or a tensor is missing, extra or of another shape.
    """
    check_target(target)
    tensors = TensorFolder(base)
    tokenizer = read_tokenizer(base)
    known = len(tokenizer)
    tokenizer.add_tokens([SEG_TOKEN])
    branch = mask_branch_of(mask2former, num_queries=num_queries)
    config = _config(base, mask2former, tensors, words=len(tokenizer), queries=num_queries)
    check_head(tensors, config, words=known)
    _check_parts(tensors, config)
    torch.manual_seed(seed)
    model = InstructSegModel(config)
    _initialize(model)
    _copy(tensors, model, known=known)
    _check_unexpected(model.load_state_dict(branch, strict=False).unexpected_keys, mask2former)
    with quiet():
        model.save_pretrained(target)
    processor_of(tokenizer, config).save_pretrained(target)
    save({HEAD: tensors.read(HEAD).float()}, target / HEAD_FILE)


def _config(
    base: Path, mask2former: Path, tensors: TensorFolder, *, words: int, queries: int
) -> InstructSegConfig:
    described = read_config(base)
    with quiet():
        masks = Mask2FormerConfig.from_pretrained(mask2former, local_files_only=True).to_dict()
    with named_errors('The base is not Mipha: name the folder of Mipha-3B, whole.'):
        return InstructSegConfig(
            vision_config=vision_sizes(described['vision_config']['vision_tower']),
            text_config=text_sizes(described, tensors.shapes) | {'vocab_size': words},
            mask_config=MaskConfig.from_dict(masks | {'num_queries': queries}),
        )


def _check_parts(tensors: TensorFolder, config: InstructSegConfig) -> None:
    wanted = [ours for ours in expected_shapes(config) if ours.startswith(_FROM_BASE)]
    places = places_of(tensors, config)
    check_places(places, tensors, wanted=wanted)
    used = {name for name, _, _ in places.values()}
    unused = [name for name in tensors.shapes if name not in used and name != HEAD]
    if unknown := unknown_tensors(tensors, unused, config):
        _log.warning(
            '%s has tensors that InstructSeg does not use (%d): %s. They are left out.',
            tensors.folder, len(unknown), listed(unknown))  # fmt: skip


@torch.no_grad()
def _initialize(model: InstructSegModel) -> None:
    """Give what neither folder holds the authors' start values (spec 2.8).

    transformers' own, a spread of 0.02 without biases, are for fine-tuning.
    """
    new = (model.perceiver, model.text_fusion, model.seg_query_projector)
    for part in (*new, model.mask_decoder.score_embed):
        for layer in part.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                layer.reset_parameters()
    convolution = model.text_fusion.local_project
    nn.init.kaiming_uniform_(convolution.weight, a=1)  # detectron2's c2_xavier_fill
    nn.init.zeros_(convolution.bias)


def _copy(tensors: TensorFolder, model: InstructSegModel, *, known: int) -> None:
    """Put the base's tensors into the model; a new word keeps its random row."""
    own = model.state_dict()
    for ours, (name, part, parts) in places_of(tensors, model.config).items():
        value = tensors.read_part(name, part, parts) if parts > 1 else tensors.read(name)
        if name == EMBEDDINGS:
            value = torch.cat([value[:known].float(), own[ours][known:]])
        if own[ours].shape != value.shape:
            raise ModelError(f'{name} is {tuple(value.shape)} in place of {tuple(own[ours].shape)}')
        own[ours].copy_(value)


def _check_unexpected(names: list[str], mask2former: Path) -> None:
    if names:
        raise ModelError(f'{mask2former} has {names[0]}, which InstructSeg has not.')
