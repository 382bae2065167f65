"""Multi-head attention on projected tensors, for all parts of the model."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

# The name under which transformers' Phi, SigLIP and Swin call `attend`.
IMPLEMENTATION: Final = 'instructseg'
# Queries in a causal block: its scores fit in the CPU's cache; keys after its last query are
# skipped.
_BLOCK: Final = 128
_LOG2_E: Final = 1 / math.log(2)
# If a sum of powers is in this range, no relevant summand underflows and no product overflows.
_MIN_SUM, _MAX_SUM = 1e-30, 1e30


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Split the width into heads: (B, N, heads * d) -> (B, heads, N, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """Join the heads: (B, heads, N, d) -> (B, N, heads * d)."""
    return x.transpose(1, 2).flatten(2)


def attend_with_heads(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    mask: torch.Tensor | None,
) -> torch.Tensor:
    """Multi-head `attend` of (B, N, heads * d) on (B, M, heads * d)."""
    query, key, value = (split_heads(x, heads) for x in (query, key, value))
    return merge_heads(attend(query, key, value, mask))


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
        query: (B, heads, N, d).
        key: (B, heads, M, d).
        value: (B, heads, M, d).
        mask: Broadcastable to (B, heads, N, M): bool, True if a query may read a key, or float,
            added to the scores.
        causal: Whether each query reads only up to its own position; the queries are the last N of
            M positions. Cannot be combined with a mask.

    Returns:
        (B, heads, N, d).
    """
    if query.device.type == 'cpu' and (torch.is_grad_enabled() or query.dtype == torch.bfloat16):
        # On a CPU, the fused kernel's backward pass is several times slower than plain products,
        # and its bfloat16 is as slow as float32.
        if causal:
            return _attend_causally(query, key, value)
        if mask is not None:
            mask = mask.expand(*mask.shape[:-1], key.shape[2])
        return _attend_by_products(query, key, value, mask)
    if causal and key.shape[2] > query.shape[2]:
        mask, causal = _causal_mask(query, key), False
    return functional.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)


def _attend_causally(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    visible = key.shape[2] - query.shape[2]
    key, value = key.contiguous(), value.contiguous()  # once instead of for each block
    later = query.new_full((_BLOCK, _BLOCK), -torch.inf).triu(1)
    blocks = []
    for rows in query.split(_BLOCK, dim=2):
        count = rows.shape[2]
        visible += count
        keys, values = key[:, :, :visible], value[:, :, :visible]
        block = _attend_by_products(rows, keys, values, later[:count, :count])
        blocks.append(block.transpose(1, 2))
    # Joined in the memory layout that `merge_heads` needs.
    return torch.cat(blocks, dim=1).transpose(1, 2)


def _attend_by_products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Compute attention as two products; the mask has a column for each of the last keys."""
    if not (torch.is_grad_enabled() or torch.compiler.is_compiling()):
        # Skips the search for the largest score, which is half of a softmax's time, and uses powers
        # of 2, which are faster than those of e. Exact unless a sum leaves the range.
        weights = _scores(query, key, mask, unit=_LOG2_E).exp2_()
        sums = weights.sum(dim=-1, keepdim=True)
        if bool(((sums > _MIN_SUM) & (sums < _MAX_SUM)).all()):
            return (weights @ value).div_(sums)
    return _scores(query, key, mask).softmax(dim=-1).to(value.dtype) @ value


def _scores(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, unit: float = 1.0
) -> torch.Tensor:
    # Without `contiguous`, the product would copy the key itself, several times more slowly.
    keys = key.contiguous().transpose(-1, -2)
    scores = (query * (unit * query.shape[-1] ** -0.5)) @ keys
    if mask is not None:
        scores[..., -mask.shape[-1] :] += _additive(mask, scores.dtype) * unit
    return scores


def _additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Convert a mask to values to add to scores; faster than filling the scores of each head."""
    if mask.dtype != torch.bool:
        return mask
    # Half of the lowest number, so that no sum becomes infinite.
    return (~mask).to(dtype).mul_(torch.finfo(dtype).min / 2)


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
