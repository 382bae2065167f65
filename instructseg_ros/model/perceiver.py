"""The object-aware video perceiver: reference frames -> a few tokens each (paper 3.2, spec 2.7)."""

from __future__ import annotations

import torch
from torch import nn

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.latents import LatentResampler


class VideoPerceiver(nn.Module):
    """Learned latents read one frame's vision tokens and the instruction's word embeddings.

    Frames are independent of each other: their order is known to the language model only.
    """

    def __init__(self, config: InstructSegConfig) -> None:
        super().__init__()
        self.temporal_query = nn.Parameter(torch.randn(config.num_latents, config.hidden_size))
        self.resampler = LatentResampler(
            config.hidden_size,
            config.perceiver_layers,
            config.perceiver_heads,
            config.perceiver_head_dim,
        )

    def forward(
        self, frames: torch.Tensor, words: torch.Tensor, word_mask: torch.Tensor
    ) -> torch.Tensor:
        """Make the reference tokens of each pair of frame and instruction.

        Args:
            frames: (B, V, width) projected vision tokens.
            words: (B, R, width) word embeddings of the instruction, with its [SEG].
            word_mask: (B, R) bool, False at padding.

        Returns:
            (B, num_latents, width).
        """
        memory = torch.cat([frames, words], dim=1)
        mask = torch.cat([word_mask.new_ones(frames.shape[:2]), word_mask], dim=1)
        latents = self.temporal_query.expand(len(frames), -1, -1)
        return self.resampler(latents, memory, mask)
