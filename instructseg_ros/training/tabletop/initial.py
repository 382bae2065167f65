"""Start values for training from nothing.

transformers initialises its parts for fine-tuning (a spread of 0.02 everywhere); layers as wide
as the embedded model's learn faster from PyTorch's own start values, which grow as width shrinks.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
)

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.motion_perceiver import WindowedCrossAttention

_EMBEDDINGS = 0.1
_LAYERS = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)


@torch.no_grad()
def start_from_nothing(model: InstructSegModel) -> None:
    """Give every parameter its start value, from torch's current random state."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=_EMBEDDINGS)
        elif isinstance(module, _LAYERS):
            module.reset_parameters()
    for module in model.modules():
        if isinstance(module, Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention):
            _look_around(module)
        elif isinstance(module, WindowedCrossAttention):
            # Keys start as queries do: what looks alike attends to each other.
            module.to_kv.weight[: len(module.to_q.weight)] = module.to_q.weight
    # Zeros, the start value of the released model, cannot be told apart by a small one.
    nn.init.normal_(model.seg_query, std=_EMBEDDINGS)
    nn.init.normal_(model.pixel_branch.decoder.level_embed, std=_EMBEDDINGS)


def _look_around(attention: Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention) -> None:
    """Sampling points in a different direction for each head, further out for each point."""
    angles = torch.arange(attention.n_heads) * (2 * math.pi / attention.n_heads)
    direction = torch.stack([angles.cos(), angles.sin()], dim=-1)
    direction = direction / direction.abs().amax(dim=-1, keepdim=True)
    reach = torch.arange(1, attention.n_points + 1)[:, None]
    shape = (attention.n_heads, attention.n_levels, attention.n_points, 2)
    offsets = (direction[:, None, None] * reach).expand(shape)
    nn.init.zeros_(attention.sampling_offsets.weight)
    attention.sampling_offsets.bias.copy_(offsets.flatten())
    nn.init.zeros_(attention.attention_weights.weight)
    nn.init.zeros_(attention.attention_weights.bias)
