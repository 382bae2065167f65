"""Vision-guided text fusion: what the instruction means in this picture (paper 3.3, spec 2.8)."""

from __future__ import annotations

import torch
from torch import nn

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.latents import LatentResampler


class TextFusion(nn.Module):
    """The instruction's pooled state, alone and fused with the backbone's coarsest features.

    The paper fuses the detailed word states too; in the released code they are queries only and
    never reach the pooled row, so that running the pooled row alone is exactly equal (spec 2.8).
    """

    def __init__(self, config: InstructSegConfig, image_channels: int) -> None:
        super().__init__()
        width, hidden = config.fusion_width, config.hidden_size
        self.local_project = nn.Conv2d(image_channels, width, 1)
        self.text_projector = nn.Linear(hidden, width)
        self.pooled_projector = nn.Linear(hidden, width)
        self.resampler = LatentResampler(
            width, config.fusion_layers, config.fusion_heads, config.fusion_head_dim
        )
        self.condition_projector = nn.Linear(2 * width, config.mask_config.hidden_dim)

    def forward(self, pooled: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Make the condition that mask tokens are scored against.

        Args:
            pooled: (F, K, hidden) mean state of each instruction's tokens.
            coarse: (F, C, h, w) the backbone's coarsest features.

        Returns:
            (F, K, hidden_dim of the mask decoder).
        """
        frames, instructions, _ = pooled.shape
        memory = self.local_project(coarse).flatten(2).transpose(1, 2)
        text = self.text_projector(pooled).flatten(0, 1)[:, None]
        fused = self.resampler(text, memory).view(frames, instructions, -1)
        return self.condition_projector(torch.cat([self.pooled_projector(pooled), fused], dim=-1))
