"""A checkpoint in the released layout, complete to the last file, with random weights."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from released_layout import INDEX_BUFFER, Sizes, tensor_shapes
from released_tokenizer import write_tokenizer
from safetensors.torch import save_file

SHARDS = ('model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors')
INDEX = 'model.safetensors.index.json'
# Tensors that the release stores as float16; the rest is float32.
HALF = (
    'model.embed_tokens.',
    'model.layers.',
    'model.final_layernorm.',
    'lm_head.',
    'model.vision_tower.',
    'model.mm_projector.',
)

# A published model of the same code has these too, and the sizes of the release's files fit them.
EXTRA_TENSORS: dict[str, list[int]] = json.loads(
    (Path(__file__).resolve().parents[1] / 'data' / 'released' / 'extra_tensors.json').read_text()
)
ATTRIBUTES = '*.safetensors filter=lfs diff=lfs merge=lfs -text\n'

Tensors = dict[str, torch.Tensor]


def write_released_checkpoint(
    folder: Path,
    *,
    change: Callable[[Tensors], object] = lambda tensors: None,
    seed: int = 0,
    sizes: Sizes | None = None,
) -> Path:
    """Write a whole checkpoint with random weights, its tensors changed by a test."""
    sizes = sizes or Sizes()
    folder.mkdir(parents=True)
    tensors = random_weights(tensor_shapes(sizes), seed)
    change(tensors)
    write_shards(folder, tensors)
    _write(folder / 'config.json', config(sizes))
    generation = {'_from_model_config': True, 'bos_token_id': 1, 'eos_token_id': 2}
    _write(folder / 'generation_config.json', {**generation, 'transformers_version': '4.38.2'})
    (folder / '.gitattributes').write_text(ATTRIBUTES)
    return write_tokenizer(folder)


def add_extra_tensors(tensors: Tensors) -> None:
    """Change a checkpoint to one with the tensors that the release probably holds as well."""
    generator = torch.Generator().manual_seed(1)
    tensors |= {
        name: torch.randn(shape, generator=generator) for name, shape in EXTRA_TENSORS.items()
    }


def drop_index_buffers(tensors: Tensors) -> None:
    """Change a checkpoint to one without what follows from the size of Swin's windows."""
    for name in [name for name in tensors if name.endswith(INDEX_BUFFER)]:
        del tensors[name]


def add_rows(tensors: Tensors, *, embeddings: int, head: int) -> None:
    """Change the rows of a checkpoint's embeddings and head; new ones belong to no token."""
    for name, rows in (('model.embed_tokens.weight', embeddings), ('lm_head.weight', head)):
        old = tensors[name][:rows]
        spare = torch.ones(rows - len(old), old.shape[1], dtype=old.dtype)
        tensors[name] = torch.cat([old, spare])


def write_shards(folder: Path, tensors: Tensors) -> None:
    """Write tensors to two files of about the same size, and the index."""
    ends = list(accumulate(tensor.nbytes for tensor in tensors.values()))
    weight_map = {name: SHARDS[end > ends[-1] / 2] for name, end in zip(tensors, ends, strict=True)}
    for shard in SHARDS:
        part = {name: tensors[name] for name, file in weight_map.items() if file == shard}
        save_file(part, folder / shard, {'format': 'pt'})
    index = {'metadata': {'total_size': ends[-1]}, 'weight_map': dict(sorted(weight_map.items()))}
    _write(folder / INDEX, index)


def random_weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> Tensors:
    """Random values in the release's number formats, of a spread that keeps answers finite."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith(INDEX_BUFFER):
            tensors[name] = _relative_positions(math.isqrt(shape[0]))
            continue
        values = torch.randn(shape, generator=generator)
        values *= 0.1 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5
        if len(shape) == 1 and name.endswith('.weight'):
            values += 1  # of a normalisation
        tensors[name] = values.half() if name.startswith(HALF) else values
    return tensors


def config(sizes: Sizes) -> dict[str, Any]:
    """The fields of config.json."""
    return {
        'architectures': ['InstructSeg'],
        'attention_dropout': 0.0,
        'bos_token_id': 1,
        'embd_pdrop': 0.0,
        'eos_token_id': 2,
        'freeze_mm_mlp_adapter': True,
        'hidden_act': 'gelu_new',
        'hidden_size': sizes.width,
        'image_aspect_ratio': 'square',
        'image_grid_pinpoints': None,
        'initializer_range': 0.02,
        'intermediate_size': sizes.feedforward,
        'layer_norm_eps': 1e-05,
        'mask_decode_train': True,
        'max_position_embeddings': 2048,
        'mm_use_im_patch_token': False,
        'mm_use_im_start_end': False,
        'mm_vision_tower': 'mask2former/maskformer2_swin_base.pkl',
        'model_type': 'mipha_phi',
        'num_attention_heads': sizes.heads,
        'num_hidden_layers': sizes.layers,
        'num_key_value_heads': sizes.heads,
        'partial_rotary_factor': 0.4,
        'qk_layernorm': False,
        'resid_pdrop': 0.1,
        'rope_scaling': None,
        'rope_theta': 10000.0,
        'swin_type': 'base',
        'tie_word_embeddings': False,
        'torch_dtype': 'float16',
        'transformers_version': '4.38.2',
        'use_cache': True,
        'use_mm_proj': True,
        'vision_config': {'mm_projector': _projector(sizes), 'vision_tower': _tower(sizes)},
        'vocab_size': sizes.words,
    }


def _projector(sizes: Sizes) -> dict[str, Any]:
    return {
        'hidden_size': sizes.width,
        'mm_hidden_size': sizes.vision_width,
        'mm_projector_type': 'mlp2x_gelu',
        'model_type': 'mipha_phi',
    }


def _tower(sizes: Sizes) -> dict[str, Any]:
    return {
        'attention_dropout': 0.0,
        'hidden_act': 'gelu_pytorch_tanh',
        'hidden_size': sizes.vision_width,
        'image_size': sizes.vision_size,
        'intermediate_size': sizes.vision_feedforward,
        'layer_norm_eps': 1e-06,
        'mm_vision_select_feature': 'patch',
        'mm_vision_select_layer': -2,
        'model_type': 'siglip_vision_model',
        'num_attention_heads': sizes.vision_heads,
        'num_channels': 3,
        'num_hidden_layers': sizes.vision_layers,
        'patch_size': sizes.vision_patch,
        'vision_model_name_or_path': 'siglip-so400m-patch14-384',
    }


def _relative_positions(window: int) -> torch.Tensor:
    """(w^2, w^2) row of the bias table for each pair of cells in a window."""
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing='ij')
    down = rows.flatten()[:, None] - rows.flatten() + window - 1
    right = columns.flatten()[:, None] - columns.flatten() + window - 1
    return down * (2 * window - 1) + right


def _write(file: Path, values: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2) + '\n')
