"""Cross attention of latents on a memory: the block of the perceiver and of the fusion."""

from __future__ import annotations

import torch
from torch import nn

from instructseg_ros.model.attention import attend, merge_heads, split_heads


class LatentAttention(nn.Module):
    """Latents attend to [memory ; own ; latents], without biases (spec 2.7)."""

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
        self,
        latents: torch.Tensor,
        memory: torch.Tensor,
        own: torch.Tensor | None,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """See `LatentResampler`; the memory is projected once for all rows that share it."""
        latents = self.norm_latents(latents)
        rows = len(latents) // len(memory)
        shared = self.to_kv(self.norm_media(memory)).repeat_interleave(rows, dim=0)
        source = latents if own is None else torch.cat([self.norm_media(own), latents], dim=1)
        keys, values = torch.cat([shared, self.to_kv(source)], dim=1).chunk(2, dim=-1)
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
        self,
        latents: torch.Tensor,
        memory: torch.Tensor,
        own: torch.Tensor | None = None,
        own_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Resample a memory that several rows share, and what each has of its own.

        Args:
            latents: (S * n, L, width) start of the latents, n rows in a row for each memory.
            memory: (S, M, width).
            own: (S * n, R, width) further memory of each row.
            own_mask: (S * n, R) bool, True where it may be read; None: everywhere.

        Returns:
            (S * n, L, width).
        """
        mask = None
        if own_mask is not None:
            shared = own_mask.new_ones(len(latents), memory.shape[1])
            always = own_mask.new_ones(latents.shape[:2])
            mask = torch.cat([shared, own_mask, always], dim=1)[:, None, None]
        for attention, feed_forward in self.layers:
            latents = latents + attention(latents, memory, own, mask)
            latents = latents + feed_forward(latents)
        return self.norm(latents)


def _feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, 2 * width, bias=False),
        nn.GELU(),
        nn.Linear(2 * width, width, bias=False),
    )
