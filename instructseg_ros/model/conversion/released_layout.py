"""Names and shapes of the tensors in the authors' checkpoint."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.model_files import ModelError, first_line
from instructseg_ros.model.modeling import InstructSegModel


class _Section(NamedTuple):
    """Tensors under one prefix, and how the rest of their names changes.

    Where there are renames, a name that none of them matches is no tensor of the layout: it could
    be one of ours by chance.
    """

    released: str
    ours: str
    renames: Sequence[tuple[str, str]] = ()


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
_QKV: Final = '{qkv}'
# What the authors' segmentation never reads, with the reason.
UNUSED: Final = {
    r'lm_head\.weight': 'only text answers need it',
    r'model\.vision_tower\.vision_model\.(post_layernorm|head)\..+': 'features come from before it',
    r'model\.vision_tower_mask\..+\.relative_position_index': 'follows from the window',
    r'predictor\.query_feat\.weight': "queries start from the language model's states",
    r'predictor\.SEG_query_embed\.weight': 'of an option that is off',
}
_VISION_LAYER: Final = re.compile(r'model\.vision_tower\.vision_model\.encoder\.layers\.(\d+)\.')


def our_names(released: str, *, vision_layers: int) -> tuple[str, ...]:
    """Names under which a released tensor is stored here.

    Args:
        vision_layers: of the vision tower, that are used; the released one holds one more.

    Returns:
        one name; three for a tensor that holds query, key and value below each other, in this
        order; none for a tensor that segmentation does not use or the layout does not have. A
        name may still be one that the model lacks: compare it with the model's.
    """
    layer = _VISION_LAYER.match(released)
    if layer and int(layer[1]) >= vision_layers:
        return ()
    if any(re.fullmatch(pattern, released) for pattern in UNUSED):
        return ()
    for section in _SECTIONS:
        if released.startswith(section.released):
            return _renamed(released.removeprefix(section.released), section)
    return ()


def _renamed(rest: str, section: _Section) -> tuple[str, ...]:
    matches = 0
    for pattern, replacement in section.renames:
        rest, count = re.subn(pattern, replacement, rest)
        matches += count
    if section.renames and not matches:
        return ()
    name = section.ours + rest
    return tuple(name.replace(_QKV, part) for part in 'qkv') if _QKV in name else (name,)


Shapes = Mapping[str, tuple[int, ...]]

_TEXT_FIELDS: Final = (
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
    'partial_rotary_factor',
    'rope_theta',
    'hidden_act',
    'layer_norm_eps',
    'max_position_embeddings',
)
_VISION_FIELDS: Final = (
    'hidden_size',
    'intermediate_size',
    'num_attention_heads',
    'image_size',
    'patch_size',
    'hidden_act',
    'layer_norm_eps',
)
RELEASED_TYPE: Final = 'mipha_phi'
_MASK_BRANCH: Final = ('predictor.', 'pixel_decoder.')
_COPY_CONFIG: Final = 'Copy the config.json of the same checkpoint again.'
# Fixed in the authors' code: no file holds them.
_RESAMPLER_HEAD_DIM = 128
_MASK_HEADS = 8
_MASK_CANVAS = 1024
_DROP_PATH = 0.3


def describe(config: Mapping[str, Any], shapes: Shapes) -> InstructSegConfig:
    """Configuration of the model whose config.json and tensor shapes are given.

    The mask branch's sizes stand in no config.json: they are read from the shapes.

    Raises:
        ModelError: a field or a tensor is missing, or of a wrong kind.
    """
    with named_errors(remedy(config.get('model_type'), shapes)):
        return InstructSegConfig(
            vision_config=vision_sizes(config['vision_config']['vision_tower']),
            text_config=text_sizes(config, shapes),
            mask_config=_masks(shapes),
            num_latents=shapes['temporal_query'][0],
            **_resampler('perceiver', 'ovp_layers', shapes),
            fusion_width=shapes['text_vmtf_projector.weight'][0],
            **_resampler('fusion', 'vmtf_layers', shapes),
        )


def expected_shapes(config: InstructSegConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a model, in our names.

    Raises:
        ModelError: no model can have these sizes.
    """
    with named_errors(_COPY_CONFIG), torch.device('meta'):
        return {n: tuple(t.shape) for n, t in InstructSegModel(config).state_dict().items()}


def remedy(model_type: object, tensors: Collection[str]) -> str:
    """Return the remedy for a checkpoint that lacks something that InstructSeg needs.

    Args:
        model_type: of its config.json.
        tensors: names of those that it has.
    """
    if model_type == InstructSegConfig.model_type:
        return (
            'This folder is converted already: use it as a model, or write the released layout '
            'back with --reverse.'
        )
    if model_type != RELEASED_TYPE:
        return (
            f'Its config.json has the model_type "{model_type}" and not "{RELEASED_TYPE}": name '
            'the folder of a released InstructSeg.'
        )
    if not any(name.startswith(_MASK_BRANCH) for name in tensors):
        return (
            'It has no mask branch, as Mipha: to train from it, name a Mask2Former with '
            '--mask2former.'
        )
    return (
        'Its files are whole, so another download of them does not help: this is another version '
        'of InstructSeg, or another model.'
    )


@contextlib.contextmanager
def named_errors(remedy: str) -> Iterator[None]:
    """Raise what wrong values raise, here and in transformers, as an error with a remedy.

    Args:
        remedy: for a field or a tensor that is missing.
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


def text_sizes(config: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """The language model's, from a config.json and the shape of its embeddings."""
    # The field `vocab_size` may be that of the language model's head, which has more rows.
    rows = shapes['model.embed_tokens.weight'][0]
    fields = {field: config[field] for field in _TEXT_FIELDS}
    if fields['hidden_act'] == 'gelu_new':
        fields['hidden_act'] = 'gelu_pytorch_tanh'  # the same function, in one kernel
    return {'vocab_size': rows, 'pad_token_id': None, **fields}


def vision_sizes(tower: Mapping[str, Any]) -> dict[str, Any]:
    """The vision tower's, from its part of a config.json."""
    # The states before layer 0 count too: the last but one of 27 layers' is that after 26.
    used = tower['num_hidden_layers'] + 1 + tower['mm_vision_select_layer']
    fields = {field: tower[field] for field in _VISION_FIELDS}
    return {'num_hidden_layers': used, 'vision_use_head': False, **fields}


def _masks(shapes: Shapes) -> dict[str, Any]:
    out, features = shapes['pixel_decoder.mask_features.weight'][:2]
    encoder, decoder = 'pixel_decoder.transformer.encoder.layers', 'predictor.transformer'
    return {
        'backbone_config': _swin('model.vision_tower_mask.', shapes),
        'feature_size': features,
        'mask_feature_size': out,
        'encoder_layers': _count(f'{encoder}.{{}}.norm1.weight', shapes),
        'encoder_feedforward_dim': shapes[f'{encoder}.0.linear1.weight'][0],
        'hidden_dim': shapes['predictor.decoder_norm.weight'][0],
        # One more than there are, as Mask2Former counts them.
        'decoder_layers': _count(f'{decoder}_ffn_layers.{{}}.norm.weight', shapes) + 1,
        'dim_feedforward': shapes[f'{decoder}_ffn_layers.0.linear1.weight'][0],
        'num_attention_heads': _MASK_HEADS,
        'num_queries': shapes['seg_query'][0],
    }


def _swin(prefix: str, shapes: Shapes) -> dict[str, Any]:
    stages = _count(f'{prefix}norm{{}}.weight', shapes)
    tables = [
        shapes[f'{prefix}layers.{i}.blocks.0.attn.relative_position_bias_table']
        for i in range(stages)
    ]
    width = shapes[f'{prefix}patch_embed.proj.weight'][0]
    return {
        'model_type': 'swin',
        'image_size': _MASK_CANVAS,
        'embed_dim': width,
        'depths': [
            _count(f'{prefix}layers.{i}.blocks.{{}}.norm1.weight', shapes) for i in range(stages)
        ],
        'num_heads': [heads for _, heads in tables],
        # A table has a row for each of the (2 w - 1)^2 offsets within a window of side w.
        'window_size': (round(tables[0][0] ** 0.5) + 1) // 2,
        'mlp_ratio': shapes[f'{prefix}layers.0.blocks.0.mlp.fc1.weight'][0] / width,
        'drop_path_rate': _DROP_PATH,
        'out_features': [f'stage{i + 1}' for i in range(stages)],
    }


def _resampler(ours: str, released: str, shapes: Shapes) -> dict[str, Any]:
    inner = shapes[f'{released}.layers.0.0.to_q.weight'][0]
    return {
        f'{ours}_layers': _count(f'{released}.layers.{{}}.0.to_q.weight', shapes),
        f'{ours}_heads': inner // _RESAMPLER_HEAD_DIM,
        f'{ours}_head_dim': _RESAMPLER_HEAD_DIM,
    }


def _count(name: str, shapes: Shapes) -> int:
    """How many tensors there are, counted in the braces of a name."""
    count = 0
    while name.format(count) in shapes:
        count += 1
    if not count:
        raise KeyError(name.format(0))
    return count
