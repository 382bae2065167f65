"""The tensors of a released checkpoint that segmentation never reads, with their shapes."""

from __future__ import annotations

from instructseg_ros.model.configuration import InstructSegConfig

_TOWER = 'model.vision_tower.vision_model.'


def unused_shapes(config: InstructSegConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each such tensor but the language model's head, under the authors' names."""
    return {**_last_vision_layers(config), **_swin_indices(config), **_queries(config)}


def _last_vision_layers(config: InstructSegConfig) -> dict[str, tuple[int, ...]]:
    """The layer after the last one that is read, the norm after it and the pooling head."""
    vision = config.vision_config
    width, inner = vision.hidden_size, vision.intermediate_size
    layer = f'{_TOWER}encoder.layers.{vision.num_hidden_layers}.'
    head = f'{_TOWER}head.'
    return {
        **_norm(f'{layer}layer_norm1', width),
        **_norm(f'{layer}layer_norm2', width),
        **{
            name: shape
            for part in ('q_proj', 'k_proj', 'v_proj', 'out_proj')
            for name, shape in _linear(f'{layer}self_attn.{part}', width, width).items()
        },
        **_linear(f'{layer}mlp.fc1', width, inner),
        **_linear(f'{layer}mlp.fc2', inner, width),
        **_norm(f'{_TOWER}post_layernorm', width),
        f'{head}probe': (1, 1, width),
        f'{head}attention.in_proj_weight': (3 * width, width),
        f'{head}attention.in_proj_bias': (3 * width,),
        **_linear(f'{head}attention.out_proj', width, width),
        **_norm(f'{head}layernorm', width),
        **_linear(f'{head}mlp.fc1', width, inner),
        **_linear(f'{head}mlp.fc2', inner, width),
    }


def _swin_indices(config: InstructSegConfig) -> dict[str, tuple[int, ...]]:
    swin = config.mask_config.backbone_config
    cells = swin.window_size**2
    return {
        f'model.vision_tower_mask.layers.{stage}.blocks.{block}.attn.relative_position_index': (
            cells, cells,
        )
        for stage, depth in enumerate(swin.depths) for block in range(depth)
    }  # fmt: skip


def _queries(config: InstructSegConfig) -> dict[str, tuple[int, ...]]:
    width, count = config.mask_config.hidden_dim, config.num_queries
    return {
        'predictor.query_feat.weight': (count, width),
        'predictor.SEG_query_embed.weight': (count + 1, width),
    }


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': (width,), f'{name}.bias': (width,)}
