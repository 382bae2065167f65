"""Builds the start of the paper's training from Mipha-3B and a published Mask2Former."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from torch import nn
from transformers import Mask2FormerConfig, Mask2FormerModel

from instructseg_ros.model.checkpoints import quiet
from instructseg_ros.model.configuration import InstructSegConfig, MaskConfig
from instructseg_ros.model.conversion.released import (
    EMBEDDINGS,
    check_head,
    check_places,
    listed,
    places_of,
    processor_of,
    read_tokenizer,
    unknown_tensors,
)
from instructseg_ros.model.conversion.released_layout import (
    expected_shapes,
    named_errors,
    text_sizes,
    vision_sizes,
)
from instructseg_ros.model.conversion.source import check_target, read_config
from instructseg_ros.model.conversion.tensors import TensorFolder, save, weight_files
from instructseg_ros.model.model_files import (
    HEAD,
    HEAD_FILE,
    ModelError,
    first_line,
    refuse_pointers,
    sha256,
)
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.tasks import SEG_TOKEN

WEIGHTS: Final = 'mask_branch.safetensors'
MANIFEST: Final = 'manifest.json'
_RENAMES: Final = (
    (r'^pixel_level_module\.encoder\.', 'pixel_branch.backbone.'),
    (r'^pixel_level_module\.decoder\.', 'pixel_branch.decoder.'),
    (r'^transformer_module\.queries_embedder\.', 'mask_decoder.query_position.'),
    (r'^transformer_module\.level_embed\.', 'mask_decoder.level_embed.'),
    (r'^transformer_module\.decoder\.layernorm\.', 'mask_decoder.norm.'),
    (r'^transformer_module\.decoder\.mask_predictor\.mask_embedder\.', 'mask_decoder.mask_embed.'),
    (r'^transformer_module\.decoder\.layers\.', 'mask_decoder.layers.'),
    (r'\.cross_attn_layer_norm\.', '.cross_norm.'),
    (r'^(mask_decoder\..+)\.self_attn_layer_norm\.', r'\1.self_norm.'),
    (r'^(mask_decoder\..+)\.final_layer_norm\.', r'\1.feed_forward_norm.'),
    (r'\.cross_attn\.', '.cross_attention.'),
    (r'^(mask_decoder\..+)\.self_attn\.', r'\1.self_attention.'),
    (r'^(mask_decoder\..+)\.fc1\.', r'\1.feed_forward.0.'),
    (r'^(mask_decoder\..+)\.fc2\.', r'\1.feed_forward.2.'),
)
_IN_PROJECTION: Final = re.compile(r'\.in_proj_(weight|bias)$')
# Queries start from the language model's states; the backbone's last norm is for classification.
_LAST_NORM: Final = 'pixel_level_module.encoder.swin.layernorm.'
_UNUSED: Final = ('transformer_module.queries_features.', _LAST_NORM)


def convert_mask2former(source: Path, target: Path, *, num_queries: int = 100) -> None:
    """Write the mask branch that training of InstructSeg starts from.

    What InstructSeg has and Mask2Former has not (biases of the finest level's convolutions, the
    scores' projection) is left out, and so is the class head.

    Args:
        source: folder in transformers' layout, in safetensors.
        target: new or empty folder for `mask_branch.safetensors` and a manifest.
        num_queries: the first so many query positions are taken.

    Raises:
        ModelError: the folder does not load, lacks tensors, or the target is in use.
    """
    check_target(target)
    files = weight_files(source)
    tensors = mask_branch_of(source, num_queries=num_queries)
    target.mkdir(parents=True, exist_ok=True)
    save(tensors, target / WEIGHTS)
    hashes = {file: sha256(source / file) for file in ['config.json', *files]}
    (target / MANIFEST).write_text(json.dumps({'sha256': hashes}, indent=2) + '\n')


def mask_branch_of(source: Path, *, num_queries: int) -> dict[str, torch.Tensor]:
    """The tensors that `convert_mask2former` writes, in our names.

    Raises:
        ModelError: see there.
    """
    tensors = {name: x.contiguous() for name, x in _renamed(_load(source))}
    positions = 'mask_decoder.query_position.weight'
    if len(tensors[positions]) < num_queries:
        raise ModelError(f'{source} has {len(tensors[positions])} queries, not {num_queries}.')
    tensors[positions] = tensors[positions][:num_queries].contiguous()
    return tensors


def _load(source: Path) -> Mask2FormerModel:
    refuse_pointers(source.glob('*.json'))
    try:
        with quiet():
            config = Mask2FormerConfig.from_pretrained(source, local_files_only=True)
            # transformers knows the names of every release of its layout.
            model, report = Mask2FormerModel.from_pretrained(
                source,
                config=config,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                local_files_only=True,
                use_safetensors=True,
            )
    except Exception as error:  # what a damaged file raises is up to three libraries
        raise ModelError(f'{source} does not load: {first_line(error)}') from error
    wrong = [name for name in report['missing_keys'] if not name.startswith(_LAST_NORM)]
    wrong += [str(name) for name in report['mismatched_keys']]
    if wrong:
        raise ModelError(
            f'{source} lacks {", ".join(sorted(wrong)[:3])}, or has it of another shape than its '
            "config.json says: name the folder of a Mask2Former in transformers' layout, whole."
        )
    return model


def _renamed(model: Mask2FormerModel) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in model.state_dict().items():
        if name.startswith(_UNUSED):
            continue
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        joined = _IN_PROJECTION.search(name)
        if joined:
            for part, piece in zip('qkv', tensor.chunk(3), strict=True):
                yield _IN_PROJECTION.sub(f'.{part}_proj.{joined[1]}', name), piece
        else:
            yield name, tensor


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
            tensors.folder,
            len(unknown),
            listed(unknown),
        )


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
