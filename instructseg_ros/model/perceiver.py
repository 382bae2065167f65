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
            frames: (N, V, width) projected vision tokens.
            words: (N * K, R, width) word embeddings of K instructions for each frame, each with
                its [SEG].
            word_mask: (N * K, R) bool, False at padding.

        Returns:
            (N * K, num_latents, width).
        """
        latents = self.temporal_query.expand(len(words), -1, -1)
        return self.resampler(latents, frames, words, word_mask)
