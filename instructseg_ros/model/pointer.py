"""Pointers: mask tokens name the image cells that they mean."""

from __future__ import annotations

import torch
from torch import nn

from instructseg_ros.model.configuration import InstructSegConfig


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
