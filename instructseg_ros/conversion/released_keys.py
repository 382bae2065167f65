"""The released checkpoint's tensor names, in this package's (spec 5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple


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
