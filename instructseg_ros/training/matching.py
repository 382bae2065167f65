"""Which mask token answers for which target: the cheapest assignment (Mask2Former, spec 6)."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn import functional

from instructseg_ros.training.points import at_points


@dataclasses.dataclass(frozen=True)
class Match:
    """Pairs of a sample's mask tokens and targets, tokens rising.

    Args:
        queries, targets: (M,) int64 indices.
    """

    queries: torch.Tensor
    targets: torch.Tensor


@torch.no_grad()
def matching_costs(
    mask_logits: torch.Tensor,
    targets: torch.Tensor,
    points: torch.Tensor,
    *,
    mask_weight: float,
    dice_weight: float,
) -> torch.Tensor:
    """Cross entropy and dice of every token with every target, at shared points.

    The authors' matcher counts scores with weight 0.

    Args:
        mask_logits: (Q, h, w).
        targets: (M, H, W) 0 or 1.
        points: (1, P, 2).

    Returns:
        (Q, M) float32.
    """
    predicted = at_points(mask_logits.float(), points.expand(len(mask_logits), -1, -1))
    true = at_points(targets.float(), points.expand(len(targets), -1, -1))
    count = predicted.shape[1]
    entropy = functional.softplus(-predicted) @ true.T + functional.softplus(predicted) @ (
        1 - true
    ).T
    return mask_weight * entropy / count + dice_weight * _dice_costs(predicted.sigmoid(), true)


@torch.no_grad()
def match(costs: torch.Tensor) -> Match:
    """Assign targets to tokens (Hungarian method); (Q, M) with at most as many targets."""
    from scipy.optimize import linear_sum_assignment

    queries, targets = linear_sum_assignment(costs.float().cpu().numpy())
    return Match(torch.as_tensor(queries), torch.as_tensor(targets))


def _dice_costs(probabilities: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    overlap = probabilities @ true.T
    total = probabilities.sum(dim=1)[:, None] + true.sum(dim=1)[None]
    return 1 - (2 * overlap + 1) / (total + 1)
