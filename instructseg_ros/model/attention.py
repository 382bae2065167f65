"""Multi-head attention on tensors that are already projected, for all parts of the model."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

# The name under which transformers' Phi, SigLIP and Swin call `attend`.
IMPLEMENTATION: Final = 'instructseg'
# Rows of a causal block: its scores stay in the cache, and keys ahead of all its rows are skipped.
_BLOCK: Final = 192
# Of exponentials: between these none that counts is rounded to nothing, nor a product infinite.
_LEAST_SUM, _MOST_SUM = 1e-30, 1e30


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
    *,
    causal: bool = False,
) -> torch.Tensor:
    """Scaled dot-product attention of (B, heads, N, d) on (B, heads, M, d).

    Args:
        mask: broadcastable to (B, heads, N, M); bool, True where a query may read a key, or added
            to the scores.
        causal: the queries are the last N of the M places and read up to their own; without mask.
    """
    if query.device.type == 'cpu' and (torch.is_grad_enabled() or query.dtype == torch.bfloat16):
        # The fused kernel's backward pass on a CPU is several times slower than plain products,
        # and in bfloat16 it computes at the speed of float32.
        if causal:
            return _plain_causal_attention(query, key, value)
        return _plain_attention(query, key, value, mask)
    if causal and key.shape[2] > query.shape[2]:
        mask, causal = _causal_mask(query, key), False
    return functional.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)


def _plain_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    scores = _scores(query, key)
    if mask is not None:
        scores += _additive(mask, scores.dtype)
    return _weighted(scores, value)


def _plain_causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    seen = key.shape[2] - query.shape[2]
    value = value.contiguous()  # once instead of for each block
    later = _later(query)
    blocks = []
    for rows in query.split(_BLOCK, dim=2):
        count = rows.shape[2]
        seen += count
        scores = _scores(rows, key[:, :, :seen])
        scores[..., -count:] += later[:count, :count]
        blocks.append(_weighted(scores, value[:, :, :seen]))
    return torch.cat(blocks, dim=2)


def _weighted(scores: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Softmax of (..., N, M) scores times (..., M, d) values."""
    if not (torch.is_grad_enabled() or torch.compiler.is_compiling()):
        # Without the search for the largest score, half of a softmax's time: it is needed only
        # where sums are out of range.
        weights = scores.exp()
        sums = weights.sum(dim=-1, keepdim=True)
        if bool(((sums > _LEAST_SUM) & (sums < _MOST_SUM)).all()):
            return (weights @ value) / sums
    return scores.softmax(dim=-1).to(value.dtype) @ value


def _additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to scores for a mask: one sum over all heads is faster than filling each."""
    if mask.dtype != torch.bool:
        return mask
    # Half of the least number, which no score takes to infinity.
    hidden = torch.finfo(dtype).min / 2
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, hidden)


def _later(query: torch.Tensor) -> torch.Tensor:
    """(_BLOCK, _BLOCK) to be added to scores: -inf where a row of a block would see a later one."""
    return query.new_full((_BLOCK, _BLOCK), -torch.inf).triu(1)


def _scores(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)


def _causal_mask(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    rows, columns = query.shape[2], key.shape[2]
    return query.new_ones(rows, columns, dtype=torch.bool).tril(columns - rows)


def _attend_for_transformers(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    is_causal: bool | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    causal = bool(getattr(module, 'is_causal', False)) if is_causal is None else is_causal
    out = attend(query, key, value, attention_mask, causal=causal and attention_mask is None)
    return out.transpose(1, 2), None


AttentionInterface.register(IMPLEMENTATION, _attend_for_transformers)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
