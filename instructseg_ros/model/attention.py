"""Multi-head attention on tensors that are already projected."""

from __future__ import annotations

import torch
from torch.nn import functional


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, heads * d) -> (B, heads, N, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """(B, heads, N, d) -> (B, N, heads * d)."""
    return x.transpose(1, 2).flatten(2)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Scaled dot-product attention of (B, heads, N, d) on (B, heads, M, d).

    Args:
        mask: bool, broadcastable to (B, heads, N, M), True where a query may read a key.
    """
    if torch.is_grad_enabled() and query.device.type == 'cpu':
        # The fused kernel's backward pass on a CPU is several times slower than plain products.
        return _plain_attention(query, key, value, mask)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def _plain_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        weights = weights.masked_fill(~mask, torch.finfo(weights.dtype).min)
    return weights.softmax(dim=-1).to(value.dtype) @ value
