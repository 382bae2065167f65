"""Cross attention of learned latents on a memory: the block of the perceiver and of the fusion."""

from __future__ import annotations

import torch
from torch import nn

from instructseg_ros.model.attention import attend, merge_heads, split_heads


class LatentAttention(nn.Module):
    """Latents attend to [memory ; latents]; every projection is free of biases (spec 2.7)."""

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_dim
        self.norm_media = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(
        self, latents: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """(B, L, width) latents read (B, M, width) memory -> (B, L, width)."""
        latents = self.norm_latents(latents)
        source = torch.cat([self.norm_media(memory), latents], dim=1)
        keys, values = self.to_kv(source).chunk(2, dim=-1)
        out = attend(
            split_heads(self.to_q(latents), self.heads),
            split_heads(keys, self.heads),
            split_heads(values, self.heads),
            mask,
        )
        return self.to_out(merge_heads(out))


class LatentResampler(nn.Module):
    """A stack of `LatentAttention` and feed-forward layers with residuals and a final LayerNorm."""

    def __init__(self, width: int, layers: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([LatentAttention(width, heads, head_dim), _feed_forward(width)])
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self, latents: torch.Tensor, memory: torch.Tensor, memory_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Resample `memory` into `latents`.

        Args:
            latents: (B, L, width) start of the latents.
            memory: (B, M, width).
            memory_mask: (B, M) bool, True where the memory may be read; None: everywhere.

        Returns:
            (B, L, width).
        """
        mask = None
        if memory_mask is not None:
            always = memory_mask.new_ones(latents.shape[:2])
            mask = torch.cat([memory_mask, always], dim=1)[:, None, None]
        for attention, feed_forward in self.layers:
            latents = latents + attention(latents, memory, mask)
            latents = latents + feed_forward(latents)
        return self.norm(latents)


def _feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, 2 * width, bias=False),
        nn.GELU(),
        nn.Linear(2 * width, width, bias=False),
    )
