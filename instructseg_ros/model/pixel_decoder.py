"""Mask2Former's pixel decoder with InstructSeg's top-down step, in one memory layout (spec 2.5).

Channels lie last from beginning to end, where maps are lists of tokens as well: transformers' own
forward pass copies the largest maps four times, into a layout of slower convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPixelDecoderOutput,
)

from instructseg_ros.model.configuration import MaskConfig
from instructseg_ros.model.deformable_attention import DeformableAttention


class PixelDecoder(Mask2FormerPixelDecoder):
    """The same parameters, but for biases and a ReLU in the top-down step (spec 2.5, 9.4)."""

    def __init__(self, config: MaskConfig, feature_channels: Sequence[int]) -> None:
        super().__init__(config, feature_channels=feature_channels)
        for layer in self.encoder.layers:
            theirs = layer.self_attn
            layer.self_attn = DeformableAttention(
                theirs.d_model, theirs.n_heads, theirs.n_levels, theirs.n_points
            )
        width = config.feature_size
        for index, channels in enumerate(feature_channels[: self.num_fpn_levels]):
            lateral, output = _convolution(channels, width, 1), _convolution(width, width, 3)
            self.add_module(f'adapter_{index + 1}', lateral)
            self.add_module(f'layer_{index + 1}', output)
            # From coarse to fine.
            self.lateral_convolutions[-1 - index] = lateral
            self.output_convolutions[-1 - index] = output
        if config.mask_upsampling > 1:
            fine = config.mask_feature_size * config.mask_upsampling**2
            self.mask_projection = nn.Conv2d(width, fine, 1)

    def forward(self, features: Sequence[torch.Tensor]) -> Mask2FormerPixelDecoderOutput:
        """Join the backbone's maps.

        Args:
            features: (B, channels, h, w), fine to coarse.

        Returns:
            multi_scale_features: three of (B, D, h, w), coarse to fine.
            mask_features: of the finest map's size.
        """
        coarser = features[::-1][: self.num_feature_levels]
        levels = self._encode([
            project(x) for project, x in zip(self.input_projections, coarser, strict=True)
        ])  # fmt: skip
        out = levels[-1]
        finer = features[: self.num_fpn_levels][::-1]
        for x, lateral, output in zip(
            finer, self.lateral_convolutions, self.output_convolutions, strict=True
        ):
            side = lateral(x)
            out = output(side + resize(out, side.shape[-2:]))
        return Mask2FormerPixelDecoderOutput(
            multi_scale_features=levels, mask_features=self.mask_projection(out)
        )

    def _encode(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        shapes = [(x.shape[2], x.shape[3]) for x in maps]
        states = torch.cat([_tokens(x) for x in maps], dim=1)
        position = torch.cat([
            _tokens(self.position_embedding(x.shape, x.device, x.dtype)) + embedding
            for x, embedding in zip(maps, self.level_embed, strict=True)
        ], dim=1)  # fmt: skip
        for layer in self.encoder.layers:
            states, *_ = layer(
                states, None, position_embeddings=position, spatial_shapes_list=shapes
            )
        parts = states.split([height * width for height, width in shapes], dim=1)
        return tuple(
            part.unflatten(1, shape).permute(0, 3, 1, 2)
            for part, shape in zip(parts, shapes, strict=True)
        )


def resize(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """(B, C, h, w) -> (B, C, *size), bilinear."""
    return functional.interpolate(x, size=size, mode='bilinear', align_corners=False)


def _convolution(inputs: int, outputs: int, side: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, padding=side // 2), nn.GroupNorm(32, outputs), nn.ReLU()
    )


def _tokens(x: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) -> (B, h * w, C)."""
    return x.flatten(2).transpose(1, 2)
