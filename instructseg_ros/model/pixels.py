"""The mask branch's features: a transformers backbone and Mask2Former's pixel decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoBackbone
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPreTrainedModel,
)
from transformers.models.swin.modeling_swin import SwinLayer

from instructseg_ros.model.configuration import MaskConfig
from instructseg_ros.model.deformable_attention import DeformableAttention
from instructseg_ros.model.window_layer import WindowLayer


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelFeatures:
    """Features of a batch of frames, independent of any instruction.

    Args:
        coarse: (F, C, h, w) the backbone's coarsest features, read by the text fusion.
        levels: three of (F, D, h, w), coarse to fine, read by the mask decoder.
        mask_features: (F, M, H, W), at stride 4 or finer by the configuration's upsampling.
    """

    coarse: torch.Tensor
    levels: tuple[torch.Tensor, ...]
    mask_features: torch.Tensor

    def of(self, frames: Sequence[int]) -> PixelFeatures:
        """Those of some frames, at least one; views where the frames follow one another."""
        whole = slice(frames[0], frames[-1] + 1)
        follow = list(frames) == list(range(whole.start, whole.stop))
        where = whole if follow else list(frames)
        return PixelFeatures(
            coarse=self.coarse[where],
            levels=tuple(level[where] for level in self.levels),
            mask_features=self.mask_features[where],
        )


class PixelBranch(Mask2FormerPreTrainedModel):
    """Backbone and pixel decoder; a `Mask2FormerPreTrainedModel` for its weight initialisation."""

    def __init__(self, config: MaskConfig) -> None:
        super().__init__(config)
        self.backbone = AutoBackbone.from_config(config.backbone_config)
        if hasattr(self.backbone, 'swin'):
            # For classification: every feature map has a norm of its own.
            self.backbone.swin.layernorm = nn.Identity()
            _use_fast_layers(self.backbone)
        self.decoder = Mask2FormerPixelDecoder(config, feature_channels=self.backbone.channels)
        _use_biased_lateral_convolutions(self.decoder)
        _use_fast_attention(self.decoder)
        self.upsampling = config.mask_upsampling
        if self.upsampling > 1:
            fine = config.mask_feature_size * self.upsampling**2
            self.decoder.mask_projection = nn.Conv2d(config.feature_size, fine, 1)
        self.detail: nn.Module | None = None
        if config.mask_detail_width > 0:
            self.detail = Detail(
                config.mask_feature_size, config.mask_detail_width, 4 // config.mask_upsampling
            )
        self.post_init()

    def forward(self, pixel_values: torch.Tensor) -> PixelFeatures:
        """(F, 3, H, W) normalised pixels -> their features."""
        # GroupNorm's backward pass on a CPU is slow in the channels-last layout of the backbone.
        maps = [x.contiguous() for x in self.backbone(pixel_values).feature_maps]
        decoded = self.decoder(maps)
        return PixelFeatures(
            coarse=maps[-1],
            levels=decoded.multi_scale_features,
            mask_features=self._sharpen(self._upsample(decoded.mask_features), pixel_values),
        )

    def _upsample(self, features: torch.Tensor) -> torch.Tensor:
        if self.upsampling == 1:
            return features  # in their memory layout
        return functional.pixel_shuffle(features, self.upsampling)

    def _sharpen(self, features: torch.Tensor, pixel_values: torch.Tensor) -> torch.Tensor:
        return features if self.detail is None else self.detail(features, pixel_values)


class Detail(nn.Module):
    """Sharpens mask features by what the picture shows at their own stride.

    What the backbone says of stride 4 and coarser ends masks up to two pixels off an edge.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, width, 3, stride, padding=1)
        self.join = nn.Conv2d(channels + width, width, 3, padding=1)
        self.correct = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, features: torch.Tensor, pixel_values: torch.Tensor) -> torch.Tensor:
        """(F, M, H / stride, W / stride) features, (F, 3, H, W) pixels -> sharper features."""
        seen = functional.gelu(self.look(pixel_values))
        joined = functional.gelu(self.join(torch.cat([features, seen], dim=1)))
        return features + self.correct(joined)


def _use_fast_layers(backbone: nn.Module) -> None:
    for module in backbone.modules():
        if isinstance(module, SwinLayer):
            module.__class__ = WindowLayer


def _use_fast_attention(decoder: Mask2FormerPixelDecoder) -> None:
    for layer in decoder.encoder.layers:
        theirs = layer.self_attn
        layer.self_attn = DeformableAttention(
            theirs.d_model, theirs.n_heads, theirs.n_levels, theirs.n_points
        )


def _use_biased_lateral_convolutions(decoder: Mask2FormerPixelDecoder) -> None:
    """InstructSeg's FPN has biases, and a ReLU on its lateral branch (spec 2.5, 9.4)."""
    width = decoder.config.feature_size
    channels = decoder.feature_channels[: decoder.num_fpn_levels]
    laterals = []
    outputs = []
    for index, inputs in enumerate(channels, start=1):
        lateral = nn.Sequential(nn.Conv2d(inputs, width, 1), nn.GroupNorm(32, width), nn.ReLU())
        output = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(32, width), nn.ReLU()
        )
        decoder.add_module(f'adapter_{index}', lateral)
        decoder.add_module(f'layer_{index}', output)
        laterals.append(lateral)
        outputs.append(output)
    decoder.lateral_convolutions = laterals[::-1]
    decoder.output_convolutions = outputs[::-1]
