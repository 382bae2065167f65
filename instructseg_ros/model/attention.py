"""Multi-head attention on tensors that are already projected, for all parts of the model."""

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
# Rows of a causal block: its scores stay in the cache, and keys ahead of all its rows are skipped.
_BLOCK: Final = 128
_LOG2_E: Final = 1 / math.log(2)
# Sums of powers: between these none that counts is rounded to nothing, nor a product infinite.
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
            return _causal_in_blocks(query, key, value)
        if mask is not None:
            mask = mask.expand(*mask.shape[:-1], key.shape[2])
        return _in_products(query, key, value, mask)
    if causal and key.shape[2] > query.shape[2]:
        mask, causal = _causal_mask(query, key), False
    return functional.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)


def _causal_in_blocks(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    seen = key.shape[2] - query.shape[2]
    key, value = key.contiguous(), value.contiguous()  # once instead of for each block
    later = _later(query)
    blocks = []
    for rows in query.split(_BLOCK, dim=2):
        count = rows.shape[2]
        seen += count
        mask = later[:count, :count]
        block = _in_products(rows, key[:, :, :seen], value[:, :, :seen], mask)
        blocks.append(block.transpose(1, 2))
    # In the order in which heads are merged.
    return torch.cat(blocks, dim=1).transpose(1, 2)


def _in_products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Attention as two products; the mask is of the last keys, as many as it has columns."""
    if not (torch.is_grad_enabled() or torch.compiler.is_compiling()):
        # Without the search for the largest score, half of a softmax's time, and with powers of 2,
        # which are faster than those of e. It is the same where no sum is out of range.
        weights = _scores(query, key, mask, unit=_LOG2_E).exp2_()
        sums = weights.sum(dim=-1, keepdim=True)
        if bool(((sums > _LEAST_SUM) & (sums < _MOST_SUM)).all()):
            return (weights @ value).div_(sums)
    return _scores(query, key, mask).softmax(dim=-1).to(value.dtype) @ value


def _scores(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, unit: float = 1.0
) -> torch.Tensor:
    # Of a key that is not contiguous a product makes a copy of its own, several times more slowly.
    keys = key.contiguous().transpose(-1, -2)
    scores = (query * (unit * query.shape[-1] ** -0.5)) @ keys
    if mask is not None:
        scores[..., -mask.shape[-1] :] += _additive(mask, scores.dtype) * unit
    return scores


def _additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to scores for a mask: one sum over all heads is faster than filling each."""
    if mask.dtype != torch.bool:
        return mask
    # Half of the least number, which no score takes to infinity.
    return (~mask).to(dtype).mul_(torch.finfo(dtype).min / 2)


def _later(query: torch.Tensor) -> torch.Tensor:
    """(_BLOCK, _BLOCK) to be added to scores: -inf where a row of a block would see a later one."""
    return query.new_full((_BLOCK, _BLOCK), -torch.inf).triu(1)


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
