"""Vision-guided text fusion, and pointers from mask tokens to image cells (paper, section 3.3)."""

from __future__ import annotations

import torch
from torch import nn

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.perceiver import LatentResampler


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


class Pointer(nn.Module):
    """Which image cells a mask token means, and what that adds to its query.

    A small model trained from nothing localises through this product of states long before its
    mask decoder does; the sums of what was pointed at tell how sure it is that anything is there.
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
        """(F, K, Q, hidden) mask tokens, (F, V, hidden) cells -> (F, K, Q, V) logits."""
        queries = self.query(tokens).flatten(1, 2)
        logits = queries @ self.key(cells).transpose(1, 2) * tokens.shape[-1] ** -0.5
        return logits.unflatten(1, tokens.shape[1:3]).float() + self.bias

    def read(self, logits: torch.Tensor, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Read what the logits point at.

        Returns:
            content: (F, K, Q, width) to be added to the queries, and
            evidence: (F, K, Q, width), part of the content, to be added before scoring too.
        """
        share = logits.sigmoid()
        peak = logits.amax(dim=-1)
        facts = torch.stack([peak, 4 * peak.sigmoid(), share.sum(dim=-1)], dim=-1)
        evidence = self.evidence(facts.to(cells.dtype))
        pointed = share.flatten(1, 2).to(cells.dtype) @ cells
        return self.content(pointed.unflatten(1, logits.shape[1:3])) + evidence, evidence
