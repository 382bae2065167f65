"""The pixel branch: an image backbone and Mask2Former's pixel decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoBackbone
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPixelDecoderOutput,
    Mask2FormerPreTrainedModel,
)
from transformers.models.swin.modeling_swin import SwinBackbone

from instructseg_ros.model.configuration import MaskConfig
from instructseg_ros.model.deformable_attention import DeformableAttention
from instructseg_ros.model.swin import make_fast


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelFeatures:
    """Features of a batch of frames, independent of any instruction.

    Args:
        coarse: (F, C, h, w) coarsest features of the backbone, read by the text fusion.
        levels: Three maps (F, D, h, w), coarse to fine, read by the mask decoder.
        mask_features: (F, M, H, W) at stride 4 / `mask_upsampling` (see `MaskConfig`).
    """

    coarse: torch.Tensor = dataclasses.field(repr=False)
    levels: tuple[torch.Tensor, ...] = dataclasses.field(repr=False)
    mask_features: torch.Tensor = dataclasses.field(repr=False)

    def of(self, frames: Sequence[int]) -> PixelFeatures:
        """Return the features of some frames, at least one; views if the frames are consecutive."""
        whole = slice(frames[0], frames[-1] + 1)
        consecutive = list(frames) == list(range(whole.start, whole.stop))
        where = whole if consecutive else list(frames)
        return PixelFeatures(
            coarse=self.coarse[where],
            levels=tuple(level[where] for level in self.levels),
            mask_features=self.mask_features[where],
        )


class PixelBranch(Mask2FormerPreTrainedModel):
    """Backbone and pixel decoder, with the initialisation of `Mask2FormerPreTrainedModel`."""

    def __init__(self, config: MaskConfig) -> None:
        super().__init__(config)
        self.backbone = AutoBackbone.from_config(config.backbone_config)
        if isinstance(self.backbone, SwinBackbone):
            make_fast(self.backbone)
        self.decoder = PixelDecoder(config, feature_channels=self.backbone.channels)
        self.upsampling = config.mask_upsampling
        self.detail: nn.Module | None = None
        if config.mask_detail_width > 0:
            self.detail = Detail(
                config.mask_feature_size, config.mask_detail_width, 4 // config.mask_upsampling
            )
        self.post_init()

    def forward(self, pixel_values: torch.Tensor) -> PixelFeatures:
        """Compute features of (F, 3, H, W) normalised pixels."""
        maps = self._maps(pixel_values)
        decoded = self.decoder(maps)
        return PixelFeatures(
            coarse=maps[-1],
            levels=decoded.multi_scale_features,
            mask_features=self._sharpen(self._upsample(decoded.mask_features), pixel_values),
        )

    def _maps(self, pixel_values: torch.Tensor) -> Sequence[torch.Tensor]:
        if torch.is_grad_enabled():
            # GroupNorm's backward pass on a CPU is slow in the channels-last layout.
            return [x.contiguous() for x in self.backbone(pixel_values).feature_maps]
        channels_last = pixel_values.contiguous(memory_format=torch.channels_last)
        return self.backbone(channels_last).feature_maps

    def _upsample(self, features: torch.Tensor) -> torch.Tensor:
        if self.upsampling == 1:
            return features  # pixel_shuffle would change the memory layout
        return functional.pixel_shuffle(features, self.upsampling)

    def _sharpen(self, features: torch.Tensor, pixel_values: torch.Tensor) -> torch.Tensor:
        return features if self.detail is None else self.detail(features, pixel_values)


class PixelDecoder(Mask2FormerPixelDecoder):
    """Mask2Former's pixel decoder with the authors' top-down step, and with `DeformableAttention`.

    The authors' msdeformattn.py has biases in the top-down convolutions and a ReLU in the lateral
    branch; transformers has neither.
    """

    def __init__(self, config: MaskConfig, feature_channels: Sequence[int]) -> None:
        super().__init__(config, feature_channels=feature_channels)
        for layer in self.encoder.layers:
            old = layer.self_attn
            layer.self_attn = DeformableAttention(
                old.d_model, old.n_heads, old.n_levels, old.n_points
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
        """Fuse the backbone's maps.

        Args:
            features: Maps (B, channels, h, w), fine to coarse.

        Returns:
            `multi_scale_features`: three maps (B, D, h, w), coarse to fine; and `mask_features`
            (B, M, h, w) at the size of the finest map.
        """
        coarser = features[::-1][: self.num_feature_levels]
        levels = self._encode(
            [project(x) for project, x in zip(self.input_projections, coarser, strict=True)]
        )
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
        position = torch.cat(
            [
                _tokens(self.position_embedding(x.shape, x.device, x.dtype)) + embedding
                for x, embedding in zip(maps, self.level_embed, strict=True)
            ],
            dim=1,
        )
        for layer in self.encoder.layers:
            states, *_ = layer(
                states, None, position_embeddings=position, spatial_shapes_list=shapes
            )
        parts = states.split([height * width for height, width in shapes], dim=1)
        return tuple(
            part.unflatten(1, shape).permute(0, 3, 1, 2)
            for part, shape in zip(parts, shapes, strict=True)
        )


class Detail(nn.Module):
    """Refines mask features with the image, read at the stride of the features.

    Without it, features of stride 4 and coarser put mask edges up to two pixels off.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, width, 3, stride, padding=1)
        self.join = nn.Conv2d(channels + width, width, 3, padding=1)
        self.correct = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, features: torch.Tensor, pixel_values: torch.Tensor) -> torch.Tensor:
        """Sharpen (F, M, H / stride, W / stride) features with (F, 3, H, W) pixels."""
        seen = functional.gelu(self.look(pixel_values))
        joined = functional.gelu(self.join(torch.cat([features, seen], dim=1)))
        return features + self.correct(joined)


def resize(x: torch.Tensor, size: tuple[int, int] | torch.Size) -> torch.Tensor:
    """Resize (B, C, h, w) to (B, C, *size) bilinearly."""
    return functional.interpolate(x, size=size, mode='bilinear', align_corners=False)


def _convolution(inputs: int, outputs: int, side: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, padding=side // 2), nn.GroupNorm(32, outputs), nn.ReLU()
    )


def _tokens(x: torch.Tensor) -> torch.Tensor:
    """Flatten a map to tokens: (B, C, h, w) -> (B, h * w, C)."""
    return x.flatten(2).transpose(1, 2)
