"""Vision-guided text fusion (paper, section 3.3), and pointers from mask tokens to image cells."""

from __future__ import annotations

import torch
from torch import nn

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.perceiver import LatentResampler


class TextFusion(nn.Module):
    """Joins an instruction's pooled state with a copy fused with the coarsest image features.

    The paper also fuses the states of single words. In the authors' vmtf.py, words only serve as
    queries and never affect the pooled row, so running that row alone gives exactly its result.
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
        """Compute the condition that mask tokens are scored against.

        Args:
            pooled: (F, K, hidden) mean state of each instruction's tokens.
            coarse: (F, C, h, w) coarsest features of the backbone.

        Returns:
            (F, K, hidden_dim of the mask decoder).
        """
        frames, instructions, _ = pooled.shape
        memory = self.local_project(coarse).flatten(2).transpose(1, 2)
        text = self.text_projector(pooled).flatten(0, 1)[:, None]
        fused = self.resampler(text, memory).view(frames, instructions, -1)
        return self.condition_projector(torch.cat([self.pooled_projector(pooled), fused], dim=-1))


class Pointer(nn.Module):
    """Scores image cells against each mask token, and summarises the selected cells for its query.

    A small model trained from scratch learns to localise through this product of states long before
    its mask decoder learns to; the sums over cells show whether a target is present at all.
    """

    def __init__(self, config: InstructSegConfig) -> None:
        super().__init__()
        hidden, width = config.hidden_size, config.mask_config.hidden_dim
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.bias = nn.Parameter(torch.tensor(-2.0))
        self.content = nn.Linear(hidden, width)
        self.evidence = nn.Linear(3, width)

    def point(self, tokens: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Score cells against mask tokens.

        Args:
            tokens: (F, K, Q, hidden) mask tokens.
            cells: (F, V, hidden) states of the image tokens.

        Returns:
            (F, K, Q, V) logits.
        """
        queries = self.query(tokens).flatten(1, 2)
        logits = queries @ self.key(cells).transpose(1, 2) * tokens.shape[-1] ** -0.5
        return logits.unflatten(1, tokens.shape[1:3]).float() + self.bias

    def read(self, logits: torch.Tensor, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Summarise the cells that the logits select.

        Args:
            logits: (F, K, Q, V) from `point`.
            cells: (F, V, hidden).

        Returns:
            Content, (F, K, Q, width), to add to the queries; and evidence, of the same shape and
            included in the content, to add once more before scoring.
        """
        share = logits.sigmoid()
        peak = logits.amax(dim=-1)
        facts = torch.stack([peak, 4 * peak.sigmoid(), share.sum(dim=-1)], dim=-1)
        evidence = self.evidence(facts.to(cells.dtype))
        pointed = share.flatten(1, 2).to(cells.dtype) @ cells
        return self.content(pointed.unflatten(1, logits.shape[1:3])) + evidence, evidence
