"""The mask branch's features: a transformers backbone and Mask2Former's pixel decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoBackbone
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPreTrainedModel
from transformers.models.swin.modeling_swin import SwinBackbone

from instructseg_ros.model.configuration import MaskConfig
from instructseg_ros.model.pixel_decoder import PixelDecoder
from instructseg_ros.model.swin_backbone import make_fast


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelFeatures:
    """Features of a batch of frames, independent of any instruction.

    Args:
        coarse: (F, C, h, w) the backbone's coarsest features, read by the text fusion.
        levels: three of (F, D, h, w), coarse to fine, read by the mask decoder.
        mask_features: (F, M, H, W), at stride 4 or finer by the configuration's upsampling.
    """

    coarse: torch.Tensor = dataclasses.field(repr=False)
    levels: tuple[torch.Tensor, ...] = dataclasses.field(repr=False)
    mask_features: torch.Tensor = dataclasses.field(repr=False)

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
        """(F, 3, H, W) normalised pixels -> their features."""
        maps = self._maps(pixel_values)
        decoded = self.decoder(maps)
        return PixelFeatures(
            coarse=maps[-1],
            levels=decoded.multi_scale_features,
            mask_features=self._sharpen(self._upsample(decoded.mask_features), pixel_values),
        )

    def _maps(self, pixel_values: torch.Tensor) -> Sequence[torch.Tensor]:
        if torch.is_grad_enabled():
            # GroupNorm's backward pass on a CPU is slow where channels lie last.
            return [x.contiguous() for x in self.backbone(pixel_values).feature_maps]
        channels_last = pixel_values.contiguous(memory_format=torch.channels_last)
        return self.backbone(channels_last).feature_maps

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
