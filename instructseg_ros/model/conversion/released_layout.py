"""The authors' checkpoint layout: tensor names, and the configuration that config.json implies."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.model_files import ModelError, first_line
from instructseg_ros.model.modeling import InstructSegModel

Shapes = Mapping[str, tuple[int, ...]]

RELEASED_TYPE: Final = 'mipha_phi'
EMBEDDINGS: Final = 'model.embed_tokens.weight'
_TOWER: Final = 'model.vision_tower.vision_model.'
_MASK_BRANCH: Final = ('predictor.', 'pixel_decoder.')
_LAYER_SIZES: Final = ('hidden_size', 'intermediate_size', 'num_attention_heads')
_LAYER_FIELDS: Final = (*_LAYER_SIZES, 'hidden_act', 'layer_norm_eps')
_POSITION_FIELDS: Final = ('partial_rotary_factor', 'rope_theta', 'max_position_embeddings')
_TEXT_FIELDS: Final = (*_LAYER_FIELDS, *_POSITION_FIELDS, 'num_hidden_layers')
_VISION_FIELDS: Final = (*_LAYER_FIELDS, 'image_size', 'patch_size')
_COPY_CONFIG: Final = 'Copy the config.json of the same checkpoint again.'


class _Section(NamedTuple):
    """The tensors under one prefix, and how to rename them.

    If there are renames, a name that matches none of them is not part of the layout, although it
    may look like one of our names.
    """

    released: str
    ours: str
    renames: Sequence[tuple[str, str]] = ()


_QKV: Final = '{qkv}'
_SWIN: Final = (
    (r'^norm0\.', 'hidden_states_norms.stage1.'),
    (r'^norm1\.', 'hidden_states_norms.stage2.'),
    (r'^norm2\.', 'hidden_states_norms.stage3.'),
    (r'^norm3\.', 'hidden_states_norms.stage4.'),
    (r'^patch_embed\.proj\.', 'swin.embeddings.patch_embeddings.projection.'),
    (r'^patch_embed\.norm\.', 'swin.embeddings.norm.'),
    (r'^layers\.', 'swin.encoder.layers.'),
    (r'\.norm1\.', '.layernorm_before.'),
    (r'\.norm2\.', '.layernorm_after.'),
    (r'\.attn\.proj\.', '.attention.o_proj.'),
    (r'\.attn\.qkv\.', '.attention.{qkv}_proj.'),
    (r'\.attn\.(relative_position_bias_table)$', r'.attention.relative_position_bias.\1'),
)
_PIXEL_DECODER: Final = (
    (r'^input_proj\.', 'input_projections.'),
    (r'^mask_features\.', 'mask_projection.'),
    (r'^transformer\.', ''),
    (r'^(adapter|layer)_1\.', r'\1_1.'),
    (r'\.norm1\.', '.self_attn_layer_norm.'),
    (r'\.norm2\.', '.final_layer_norm.'),
    (r'\.linear([12])\.', r'.fc\1.'),
)
_PREDICTOR: Final = (
    (r'^query_embed\.', 'query_position.'),
    (r'^level_embed\.', 'level_embed.'),
    (r'^decoder_norm\.', 'norm.'),
    (r'^mask_embed\.layers\.(\d+)\.', r'mask_embed.\1.0.'),
    (r'^SEG_proj\.layers\.(\d+)\.', r'score_embed.\1.0.'),
    (r'^transformer_(cross|self)_attention_layers\.(\d+)\.norm\.', r'layers.\2.\1_norm.'),
    (r'^transformer_self_attention_layers\.(\d+)\.self_attn\.', r'layers.\1.self_attention.'),
    (
        r'^transformer_cross_attention_layers\.(\d+)\.multihead_attn\.',
        r'layers.\1.cross_attention.',
    ),
    (r'^transformer_ffn_layers\.(\d+)\.norm\.', r'layers.\1.feed_forward_norm.'),
    (r'^transformer_ffn_layers\.(\d+)\.linear1\.', r'layers.\1.feed_forward.0.'),
    (r'^transformer_ffn_layers\.(\d+)\.linear2\.', r'layers.\1.feed_forward.2.'),
    (r'\.in_proj_(weight|bias)$', r'.{qkv}_proj.\1'),
)
_SECTIONS: Final = (
    _Section('model.vision_tower.vision_model.', 'vision_tower.'),
    _Section('model.vision_tower_mask.', 'pixel_branch.backbone.', _SWIN),
    _Section('model.mm_projector.', 'projector.'),
    _Section('model.', 'language_model.'),
    _Section('pixel_decoder.', 'pixel_branch.decoder.', _PIXEL_DECODER),
    _Section('predictor.', 'mask_decoder.', _PREDICTOR),
    _Section('ovp_layers.', 'perceiver.resampler.'),
    _Section('temporal_query', 'perceiver.temporal_query'),
    _Section('vmtf_layers.', 'text_fusion.resampler.'),
    _Section('local_project.', 'text_fusion.local_project.'),
    _Section('text_vmtf_projector.', 'text_fusion.text_projector.'),
    _Section('origin_SEG_token_projector.', 'text_fusion.pooled_projector.'),
    _Section('SEG_token_projector.', 'text_fusion.condition_projector.'),
    _Section('seg_query_projector.', 'seg_query_projector.'),
    _Section('seg_query', 'seg_query'),
)
# Tensors of the release that its segmentation never reads.
_UNUSED: Final = (
    r'lm_head\.weight',  # needed only for text answers
    # Features come from before the last norm and the pooling head.
    re.escape(_TOWER) + r'(post_layernorm|head\.layernorm|head\.mlp\.fc[12])\.(weight|bias)',
    re.escape(_TOWER) + r'head\.(probe|attention\.(in_proj_|out_proj\.)(weight|bias))',
    # Follows from the window size.
    r'model\.vision_tower_mask\.layers\.\d+\.blocks\.\d+\.attn\.relative_position_index',
    # Queries start from the language model's states; the option that uses SEG_query_embed is off.
    r'predictor\.(query_feat|SEG_query_embed)\.weight',
)
_VISION_LAYER: Final = re.compile(
    re.escape(_TOWER) + r'encoder\.layers\.(\d+)\.'
    r'(layer_norm[12]|self_attn\.(q|k|v|out)_proj|mlp\.fc[12])\.(weight|bias)'
)


def our_names(released: str, *, vision_layers: int) -> tuple[str, ...]:
    """Translate the name of a released tensor.

    Args:
        released: Name in the authors' checkpoint.
        vision_layers: Layers of the vision tower that are used; the release has one more.

    Returns:
        One name; three for a tensor that stacks query, key and value, in this order; none for a
        tensor that segmentation does not use or that the layout does not have. The model may still
        lack a returned name.
    """
    if is_unused(released, vision_layers=vision_layers):
        return ()
    for section in _SECTIONS:
        if released.startswith(section.released):
            return _renamed(released.removeprefix(section.released), section)
    return ()


def is_unused(released: str, *, vision_layers: int) -> bool:
    """Return whether the release has a tensor of this name that its segmentation never reads."""
    layer = _VISION_LAYER.fullmatch(released)
    if layer and int(layer[1]) == vision_layers:
        return True
    return any(re.fullmatch(pattern, released) for pattern in _UNUSED)


def _renamed(rest: str, section: _Section) -> tuple[str, ...]:
    matches = 0
    for pattern, replacement in section.renames:
        rest, count = re.subn(pattern, replacement, rest)
        matches += count
    if section.renames and not matches:
        return ()
    name = section.ours + rest
    return tuple(name.replace(_QKV, part) for part in 'qkv') if _QKV in name else (name,)


def expected_shapes(config: InstructSegConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a model, by our names.

    Raises:
        ModelError: No model can have these sizes.
    """
    with named_errors(_COPY_CONFIG), torch.device('meta'):
        return {n: tuple(t.shape) for n, t in InstructSegModel(config).state_dict().items()}


def describe(config: Mapping[str, Any], shapes: Shapes) -> InstructSegConfig:
    """Build the configuration of a released model from its config.json and tensor shapes.

    config.json does not hold the sizes of the mask branch; they are read from the shapes.

    Raises:
        ModelError: A field or a tensor is missing or of the wrong type.
    """
    with named_errors(remedy(config.get('model_type'), shapes)):
        return InstructSegConfig(
            vision_config=vision_sizes(config['vision_config']['vision_tower']),
            text_config=text_sizes(config, shapes),
            mask_config=_mask_sizes(shapes),
            num_latents=shapes['temporal_query'][0],
            **_resampler_sizes('perceiver', 'ovp_layers', shapes),
            fusion_width=shapes['text_vmtf_projector.weight'][0],
            **_resampler_sizes('fusion', 'vmtf_layers', shapes),
        )


def text_sizes(config: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """Return the language model's configuration."""
    # The field `vocab_size` may be that of the output head, which has more rows.
    sizes = {field: config[field] for field in _TEXT_FIELDS}
    sizes |= {'vocab_size': shapes[EMBEDDINGS][0], 'pad_token_id': None}
    if sizes['hidden_act'] == 'gelu_new':
        sizes['hidden_act'] = 'gelu_pytorch_tanh'  # the same function in one kernel
    return sizes


def vision_sizes(tower: Mapping[str, Any]) -> dict[str, Any]:
    """Return the vision tower's configuration."""
    # `hidden_states` starts with the embeddings: of 27 layers, -2 selects the output of the 26th.
    used = tower['num_hidden_layers'] + 1 + tower['mm_vision_select_layer']
    sizes = {field: tower[field] for field in _VISION_FIELDS}
    return {**sizes, 'num_hidden_layers': used, 'vision_use_head': False}


def _mask_sizes(shapes: Shapes) -> dict[str, Any]:
    out, features = shapes['pixel_decoder.mask_features.weight'][:2]
    encoder, decoder = 'pixel_decoder.transformer.encoder.layers', 'predictor.transformer'
    return {
        'backbone_config': _swin_sizes('model.vision_tower_mask.', shapes),
        'feature_size': features,
        'mask_feature_size': out,
        'encoder_layers': _count(f'{encoder}.{{}}.norm1.weight', shapes),
        'encoder_feedforward_dim': shapes[f'{encoder}.0.linear1.weight'][0],
        'hidden_dim': shapes['predictor.decoder_norm.weight'][0],
        # Mask2Former's `decoder_layers` is one higher than the number of layers.
        'decoder_layers': _count(f'{decoder}_ffn_layers.{{}}.norm.weight', shapes) + 1,
        'dim_feedforward': shapes[f'{decoder}_ffn_layers.0.linear1.weight'][0],
        'num_attention_heads': 8,  # fixed in the authors' code
        'num_queries': shapes['seg_query'][0],
    }


def _swin_sizes(prefix: str, shapes: Shapes) -> dict[str, Any]:
    stages = range(_count(f'{prefix}norm{{}}.weight', shapes))
    blocks = [f'{prefix}layers.{stage}.blocks' for stage in stages]
    tables = [shapes[f'{block}.0.attn.relative_position_bias_table'] for block in blocks]
    width = shapes[f'{prefix}patch_embed.proj.weight'][0]
    return {
        'model_type': 'swin',
        'image_size': 1024,
        'embed_dim': width,
        'depths': [_count(f'{block}.{{}}.norm1.weight', shapes) for block in blocks],
        'num_heads': [heads for _, heads in tables],
        # A table has a row for each of the (2 w - 1)^2 offsets within a window of side w.
        'window_size': (round(tables[0][0] ** 0.5) + 1) // 2,
        'mlp_ratio': shapes[f'{blocks[0]}.0.mlp.fc1.weight'][0] / width,
        'drop_path_rate': 0.3,  # fixed in the authors' code
        'out_features': [f'stage{stage + 1}' for stage in stages],
    }


def _resampler_sizes(ours: str, released: str, shapes: Shapes) -> dict[str, Any]:
    head_dim = 128  # fixed in the authors' code
    return {
        f'{ours}_layers': _count(f'{released}.layers.{{}}.0.to_q.weight', shapes),
        f'{ours}_heads': shapes[f'{released}.layers.0.0.to_q.weight'][0] // head_dim,
        f'{ours}_head_dim': head_dim,
    }


def _count(name: str, shapes: Shapes) -> int:
    """Count the tensors whose names match a template with 0, 1, 2... for the braces."""
    count = 0
    while name.format(count) in shapes:
        count += 1
    if not count:
        raise KeyError(name.format(0))
    return count


def remedy(model_type: object, tensors: Collection[str]) -> str:
    """Return the remedy for a checkpoint that lacks something that InstructSeg needs.

    Args:
        model_type: The `model_type` in its config.json.
        tensors: Names of its tensors.
    """
    if model_type == InstructSegConfig.model_type:
        return 'This folder is already converted: use it as a model.'
    if model_type == 'mask2former':
        return 'This is a Mask2Former: name the folder of Mipha, and this one as --mask2former.'
    if model_type != RELEASED_TYPE:
        return (
            f'Its config.json has the model_type "{model_type}" and not "{RELEASED_TYPE}": name '
            'the folder of a released InstructSeg.'
        )
    if not any(name.startswith(_MASK_BRANCH) for name in tensors):
        return (
            'Like Mipha, it has no mask branch: to train from it, name a Mask2Former with '
            '--mask2former.'
        )
    return (
        'Its files are complete, so downloading them again does not help: this is another version '
        'of InstructSeg, or another model.'
    )


@contextlib.contextmanager
def named_errors(remedy: str) -> Iterator[None]:
    """Turn errors caused by wrong values, here or in transformers, into a ModelError.

    Args:
        remedy: Advice for a missing field or tensor.
    """
    try:
        yield
    except KeyError as error:
        raise ModelError(f'{error} is missing. {remedy}') from error
    except Exception as error:
        raise ModelError(
            'config.json and tensors do not describe an InstructSeg '
            f'({type(error).__name__}: {first_line(error)}). {_COPY_CONFIG}'
        ) from error
