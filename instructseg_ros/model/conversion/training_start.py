"""Builds the model that the paper's training starts from: Mipha-3B joined with a Mask2Former."""

from __future__ import annotations

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
    check_complete,
    check_head,
    find_slices,
    read_tokenizer,
    released_processor,
)
from instructseg_ros.model.conversion.released_layout import (
    EMBEDDINGS,
    expected_shapes,
    named_errors,
    text_sizes,
    vision_sizes,
)
from instructseg_ros.model.conversion.source import check_target, read_config
from instructseg_ros.model.conversion.tensors import TensorFolder, TensorSlice, save, weight_files
from instructseg_ros.model.model_files import (
    HEAD,
    HEAD_FILE,
    ModelError,
    first_line,
    refuse_pointers,
)
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.tasks import SEG_TOKEN

_FROM_BASE: Final = ('vision_tower.', 'projector.', 'language_model.')
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


def write_start(
    base: Path, mask2former: Path, target: Path, *, num_queries: int = 100, seed: int = 0
) -> None:
    """Write a model with the same pretrained parts as in the paper; the other parts are random.

    Needs 14 GB of memory for Mipha-3B, which is held as float32.

    Args:
        base: Mipha's folder: config.json, safetensors and tokenizer.
        mask2former: Folder of a Mask2Former with a Swin backbone, in transformers' layout.
        target: New or empty folder.
        num_queries: Number of mask tokens; Mask2Former's first query positions are used for them.
        seed: Seed of the random weights.

    Raises:
        ModelError: A folder does not load, or a tensor is missing, unexpected or of the wrong
            shape.
    """
    check_target(target)
    tensors = TensorFolder(base)
    tokenizer = read_tokenizer(base)
    known = len(tokenizer)
    tokenizer.add_tokens([SEG_TOKEN])
    branch = mask_branch(mask2former, num_queries=num_queries)
    config = _config(base, mask2former, tensors, words=len(tokenizer), queries=num_queries)
    check_head(tensors, config, words=known)
    slices = find_slices(tensors, config)
    wanted = [ours for ours in expected_shapes(config) if ours.startswith(_FROM_BASE)]
    check_complete(slices, tensors, wanted)
    torch.manual_seed(seed)
    model = InstructSegModel(config)
    _initialize(model)
    _copy(tensors, slices, model, known=known)
    if unexpected := model.load_state_dict(branch, strict=False).unexpected_keys:
        raise ModelError(f'{mask2former} has {unexpected[0]}, which InstructSeg lacks.')
    with quiet():
        model.save_pretrained(target)
    released_processor(tokenizer, config).save_pretrained(target)
    save({HEAD: tensors.read(TensorSlice(HEAD)).float()}, target / HEAD_FILE)


def mask_branch(source: Path, *, num_queries: int) -> dict[str, torch.Tensor]:
    """Load the mask branch of a Mask2Former under our names.

    The result lacks what Mask2Former does not have (biases of the finest level's convolutions, the
    projection of scores), and omits its class head.

    Args:
        source: Folder in transformers' layout, in safetensors.
        num_queries: Number of query positions to take, from the first on.

    Raises:
        ModelError: The folder does not load, or lacks tensors or query positions.
    """
    weight_files(source)
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
            # transformers knows the tensor names of all its earlier versions.
            model, report = Mask2FormerModel.from_pretrained(
                source,
                config=config,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                local_files_only=True,
                use_safetensors=True,
            )
    except Exception as error:  # a damaged file raises errors of up to three libraries
        raise ModelError(f'{source} cannot be loaded: {first_line(error)}') from error
    wrong = [name for name in report['missing_keys'] if not name.startswith(_LAST_NORM)]
    wrong += [str(name) for name in report['mismatched_keys']]
    if wrong:
        raise ModelError(
            f'{source} lacks {", ".join(sorted(wrong)[:3])}, or their shapes do not match its '
            "config.json: name the complete folder of a Mask2Former in transformers' layout."
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


def _config(
    base: Path, mask2former: Path, tensors: TensorFolder, *, words: int, queries: int
) -> InstructSegConfig:
    described = read_config(base)
    with quiet():
        masks = Mask2FormerConfig.from_pretrained(mask2former, local_files_only=True).to_dict()
    with named_errors('The base is not Mipha: name the complete folder of Mipha-3B.'):
        return InstructSegConfig(
            vision_config=vision_sizes(described['vision_config']['vision_tower']),
            text_config=text_sizes(described, tensors.shapes) | {'vocab_size': words},
            mask_config=MaskConfig.from_dict(masks | {'num_queries': queries}),
        )


@torch.no_grad()
def _initialize(model: InstructSegModel) -> None:
    """Initialise the parts that come from neither folder, in the same way as the authors' code.

    It uses torch's defaults, and c2_xavier_fill for `local_project` (instructseg/model/
    language_model/llava_phi.py). transformers' defaults, a standard deviation of 0.02 and zero
    biases, differ.
    """
    new = (model.perceiver, model.text_fusion, model.seg_query_projector)
    for part in (*new, model.mask_decoder.score_embed):
        for layer in part.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                layer.reset_parameters()
    convolution = model.text_fusion.local_project
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    nn.init.zeros_(convolution.bias)


def _copy(
    tensors: TensorFolder, slices: dict[str, TensorSlice], model: InstructSegModel, *, known: int
) -> None:
    """Copy the base's tensors into the model; embeddings of new words stay random."""
    own = model.state_dict()
    for ours, piece in slices.items():
        value = tensors.read(piece)
        if piece.name == EMBEDDINGS:
            value = torch.cat([value[:known].float(), own[ours][known:]])
        if own[ours].shape != value.shape:
            shape, right = tuple(value.shape), tuple(own[ours].shape)
            raise ModelError(f'{piece.name} has the shape {shape} instead of {right}')
        own[ours].copy_(value)
