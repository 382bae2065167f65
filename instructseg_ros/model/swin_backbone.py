"""Swin's feature maps as views of its tokens (docs/adr/0005): transformers copies them, thrice."""

from __future__ import annotations

import torch
from torch import nn
from transformers.modeling_outputs import BackboneOutput
from transformers.models.swin.modeling_swin import SwinBackbone, SwinLayer

from instructseg_ros.model.window_layer import WindowLayer


class FastSwinBackbone(SwinBackbone):
    """The same backbone, faster where no gradients are wanted."""

    def forward(self, pixel_values: torch.Tensor) -> BackboneOutput:
        """(B, 3, H, W) -> maps (B, C, h, w), fine to coarse; in memory channels lie last."""
        if torch.is_grad_enabled():
            return super().forward(pixel_values)  # with its checkpointing
        states, (height, width) = self.swin.embeddings(pixel_values)
        maps = []
        for name, stage in zip(self.stage_names[1:], self.swin.encoder.layers, strict=True):
            for layer in stage.blocks:
                states, _ = layer(states, (height, width), always_partition=True)
            if name in self.out_features:
                normed = self.hidden_states_norms[name](states)
                maps.append(normed.unflatten(1, (height, width)).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                states = stage.downsample(states, (height, width))
                height, width = (height + 1) // 2, (width + 1) // 2
        return BackboneOutput(feature_maps=tuple(maps))


def make_fast(backbone: SwinBackbone) -> None:
    """Let a backbone that transformers has made compute as this module does."""
    # For classification: every feature map has a norm of its own.
    backbone.swin.layernorm = nn.Identity()
    backbone.__class__ = FastSwinBackbone
    for module in backbone.modules():
        if isinstance(module, SwinLayer):
            module.__class__ = WindowLayer
