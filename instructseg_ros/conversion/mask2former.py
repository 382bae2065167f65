"""Where training starts: a published Mask2Former's backbone, pixel decoder, predictor (spec 6)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from transformers import Mask2FormerConfig, Mask2FormerModel

from instructseg_ros.conversion.source import check_target
from instructseg_ros.conversion.tensors import save, weight_files
from instructseg_ros.model.checkpoints import ModelError, first_line, quiet, refuse_pointers
from instructseg_ros.model.manifest import sha256

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
                source, config=config, output_loading_info=True, ignore_mismatched_sizes=True,
                local_files_only=True, use_safetensors=True,
            )  # fmt: skip
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
