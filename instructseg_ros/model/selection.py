"""The answer among all mask tokens: score times mask quality (spec 3)."""

from __future__ import annotations

from collections.abc import Callable

import torch

_EPSILON = 1e-6


def best_mask(
    mask_logits: torch.Tensor,
    score_logits: torch.Tensor,
    restore: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, float]:
    """Choose the mask with the highest product of score and quality.

    A product is never above its score, so that tokens are visited by falling score and most
    masks are never brought to full size.

    Args:
        mask_logits: (Q, h, w).
        score_logits: (Q,).
        restore: brings (N, h, w) logits to the image's size.

    Raises:
        ValueError: the scores or masks are NaN.

    Returns:
        (H, W) logits of the best mask, and its product of score and quality in 0..1.
    """
    scores = score_logits.float().sigmoid()
    best, best_score = None, -1.0
    for index in scores.argsort(descending=True).tolist():
        score = scores[index].item()
        if score <= best_score:
            break
        logits = restore(mask_logits[index : index + 1])[0]
        product = score * mask_quality(logits).item()
        if product > best_score:
            best, best_score = logits, product
    if best is None:
        raise ValueError(
            'the model gave no numbers (NaN): use the dtype "float32" or "bfloat16", and if it '
            'stays so, copy the weights again'
        )
    return best, best_score


def mask_quality(logits: torch.Tensor) -> torch.Tensor:
    """Mean probability of the pixels inside: (..., H, W) -> (...); 0 for an empty mask."""
    inside = (logits > 0).float()
    total = (logits.sigmoid() * inside).sum(dim=(-2, -1))
    return total / (inside.sum(dim=(-2, -1)) + _EPSILON)
