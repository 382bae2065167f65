"""Names and shapes of every tensor in the released checkpoint, at any size."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

INDEX_BUFFER = '.relative_position_index'
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of a model; by default small, with the release's numbers of tokens.

    Args:
        words, head_rows: of the language model's embeddings, and of its head.
        width, feedforward, layers, heads: of the language model.
        vision_*: of SigLIP, with the layer that is not used.
        swin_*: of the mask branch's backbone.
        mask_width, encoder_*, decoder_*: of pixel decoder and mask decoder.
        fusion_width: of vision-guided text fusion.
        resampler_layers, resampler_width: of its attention, and of the video perceiver's.
        queries, latents: mask tokens, and reference tokens of a frame.
    """

    words: int = 50296
    head_rows: int = 51200
    width: int = 40
    feedforward: int = 64
    layers: int = 2
    heads: int = 2
    vision_width: int = 16
    vision_feedforward: int = 32
    vision_layers: int = 3
    vision_heads: int = 2
    vision_size: int = 384
    vision_patch: int = 14
    swin_width: int = 8
    swin_depths: tuple[int, ...] = (1, 1, 2, 1)
    swin_heads: tuple[int, ...] = (1, 2, 2, 4)
    swin_window: int = 6
    mask_width: int = 32
    encoder_layers: int = 1
    encoder_feedforward: int = 32
    decoder_layers: int = 3
    decoder_feedforward: int = 32
    fusion_width: int = 32
    resampler_layers: int = 2
    resampler_width: int = 128
    queries: int = 100
    latents: int = 128


def tensor_shapes(sizes: Sizes) -> Shapes:
    """Every tensor of the layout."""
    return {
        **_under('model.', _language(sizes)),
        **_under('model.vision_tower.vision_model.', _siglip(sizes)),
        **_linear('model.mm_projector.0', sizes.width, sizes.vision_width),
        **_linear('model.mm_projector.2', sizes.width, sizes.width),
        **_under('model.vision_tower_mask.', _swin(sizes)),
        'lm_head.weight': (sizes.head_rows, sizes.width),
        **_under('pixel_decoder.', _pixel_decoder(sizes)),
        **_under('predictor.', _predictor(sizes)),
        'seg_query': (sizes.queries, sizes.width),
        **_linear('seg_query_projector', sizes.mask_width, sizes.width),
        'temporal_query': (sizes.latents, sizes.width),
        **_under('ovp_layers.', _resampler(sizes.width, sizes)),
        **_fusion(sizes),
    }


def _language(sizes: Sizes) -> Shapes:
    found: Shapes = {'embed_tokens.weight': (sizes.words, sizes.width)}
    for layer in range(sizes.layers):
        prefix = f'layers.{layer}.'
        for part in ('q_proj', 'k_proj', 'v_proj', 'dense'):
            found |= _linear(f'{prefix}self_attn.{part}', sizes.width, sizes.width)
        found |= _under(f'{prefix}mlp.', _two('fc', sizes.width, sizes.feedforward))
        found |= _norm(f'{prefix}input_layernorm', sizes.width)
    return {**found, **_norm('final_layernorm', sizes.width)}


def _siglip(sizes: Sizes) -> Shapes:
    width, patch = sizes.vision_width, sizes.vision_patch
    found: Shapes = {
        **_convolution('embeddings.patch_embedding', width, 3, patch),
        'embeddings.position_embedding.weight': ((sizes.vision_size // patch) ** 2, width),
    }
    for layer in range(sizes.vision_layers):
        prefix = f'encoder.layers.{layer}.'
        found |= _norm(f'{prefix}layer_norm1', width) | _norm(f'{prefix}layer_norm2', width)
        for part in ('q_proj', 'k_proj', 'v_proj', 'out_proj'):
            found |= _linear(f'{prefix}self_attn.{part}', width, width)
        found |= _under(f'{prefix}mlp.', _two('fc', width, sizes.vision_feedforward))
    return {**found, **_norm('post_layernorm', width), **_under('head.', _pooling(sizes))}


def _pooling(sizes: Sizes) -> Shapes:
    width = sizes.vision_width
    return {
        'probe': (1, 1, width),
        **_attention('attention', width),
        **_norm('layernorm', width),
        **_under('mlp.', _two('fc', width, sizes.vision_feedforward)),
    }


def _swin(sizes: Sizes) -> Shapes:
    found: Shapes = {
        **_convolution('patch_embed.proj', sizes.swin_width, 3, 4),
        **_norm('patch_embed.norm', sizes.swin_width),
    }
    widths = [sizes.swin_width * 2**stage for stage in range(len(sizes.swin_depths))]
    for stage, width in enumerate(widths):
        for block in range(sizes.swin_depths[stage]):
            heads = sizes.swin_heads[stage]
            found |= _under(f'layers.{stage}.blocks.{block}.', _swin_block(width, heads, sizes))
        found |= _norm(f'norm{stage}', width)
    for stage, (width, wider) in enumerate(pairwise(widths)):
        found[f'layers.{stage}.downsample.reduction.weight'] = (wider, 4 * width)
        found |= _norm(f'layers.{stage}.downsample.norm', 4 * width)
    return found


def _swin_block(width: int, heads: int, sizes: Sizes) -> Shapes:
    window = sizes.swin_window
    return {
        **_norm('norm1', width),
        'attn.relative_position_bias_table': ((2 * window - 1) ** 2, heads),
        f'attn{INDEX_BUFFER}': (window**2, window**2),
        **_linear('attn.qkv', 3 * width, width),
        **_linear('attn.proj', width, width),
        **_norm('norm2', width),
        **_under('mlp.', _two('fc', width, 4 * width)),
    }


def _pixel_decoder(sizes: Sizes) -> Shapes:
    width = sizes.mask_width
    found: Shapes = {'transformer.level_embed': (3, width)}
    for level, channels in enumerate(sizes.swin_width * factor for factor in (8, 4, 2)):
        found |= _convolution(f'input_proj.{level}.0', width, channels, 1)
        found |= _norm(f'input_proj.{level}.1', width)
    for layer in range(sizes.encoder_layers):
        found |= _under(f'transformer.encoder.layers.{layer}.', _encoder_layer(sizes))
    found |= _convolution('adapter_1.0', width, sizes.swin_width, 1) | _norm('adapter_1.1', width)
    found |= _convolution('layer_1.0', width, width, 3) | _norm('layer_1.1', width)
    return {**found, **_convolution('mask_features', width, width, 1)}


def _encoder_layer(sizes: Sizes) -> Shapes:
    width, samples = sizes.mask_width, 8 * 3 * 4  # heads, levels, points
    return {
        **_linear('self_attn.sampling_offsets', 2 * samples, width),
        **_linear('self_attn.attention_weights', samples, width),
        **_linear('self_attn.value_proj', width, width),
        **_linear('self_attn.output_proj', width, width),
        **_norm('norm1', width),
        **_two('linear', width, sizes.encoder_feedforward),
        **_norm('norm2', width),
    }


def _predictor(sizes: Sizes) -> Shapes:
    width = sizes.mask_width
    found: Shapes = {}
    for layer in range(sizes.decoder_layers):
        for kind, module in (('self', 'self_attn'), ('cross', 'multihead_attn')):
            prefix = f'transformer_{kind}_attention_layers.{layer}.'
            found |= _attention(f'{prefix}{module}', width) | _norm(f'{prefix}norm', width)
        prefix = f'transformer_ffn_layers.{layer}.'
        found |= _under(prefix, _two('linear', width, sizes.decoder_feedforward))
        found |= _norm(f'{prefix}norm', width)
    for name, layers in (('mask_embed', 3), ('SEG_proj', 2)):
        for layer in range(layers):
            found |= _linear(f'{name}.layers.{layer}', width, width)
    return {
        **found,
        **_norm('decoder_norm', width),
        'query_feat.weight': (sizes.queries, width),
        'query_embed.weight': (sizes.queries, width),
        'SEG_query_embed.weight': (sizes.queries + 1, width),
        'level_embed.weight': (3, width),
    }


def _fusion(sizes: Sizes) -> Shapes:
    width = sizes.fusion_width
    return {
        **_under('vmtf_layers.', _resampler(width, sizes)),
        **_convolution('local_project', width, 8 * sizes.swin_width, 1),
        **_linear('text_vmtf_projector', width, sizes.width),
        **_linear('origin_SEG_token_projector', width, sizes.width),
        **_linear('SEG_token_projector', sizes.mask_width, 2 * width),
    }


def _resampler(width: int, sizes: Sizes) -> Shapes:
    inner, wide = sizes.resampler_width, 2 * width
    found: Shapes = {}
    for layer in range(sizes.resampler_layers):
        attention, feedforward = f'layers.{layer}.0.', f'layers.{layer}.1.'
        found |= _norm(f'{attention}norm_media', width) | _norm(f'{attention}norm_latents', width)
        found[f'{attention}to_q.weight'] = (inner, width)
        found[f'{attention}to_kv.weight'] = (2 * inner, width)
        found[f'{attention}to_out.weight'] = (width, inner)
        found |= _norm(f'{feedforward}0', width)
        found[f'{feedforward}1.weight'] = (wide, width)
        found[f'{feedforward}3.weight'] = (width, wide)
    return {**found, **_norm('norm', width)}


def _two(name: str, width: int, wide: int) -> Shapes:
    """A feed-forward's two layers."""
    return {**_linear(f'{name}1', wide, width), **_linear(f'{name}2', width, wide)}


def _attention(name: str, width: int) -> Shapes:
    """Tensors of torch's attention."""
    return {
        f'{name}.in_proj_weight': (3 * width, width),
        f'{name}.in_proj_bias': (3 * width,),
        **_linear(f'{name}.out_proj', width, width),
    }


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}


def _convolution(name: str, outputs: int, inputs: int, side: int) -> Shapes:
    return {f'{name}.weight': (outputs, inputs, side, side), f'{name}.bias': (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


def _under(prefix: str, found: Shapes) -> Shapes:
    return {f'{prefix}{name}': shape for name, shape in found.items()}
