"""Points at which masks are compared: cheaper than all pixels, and where it matters (PointRend)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch.nn import functional


class Draws(Protocol):
    """Uniform random points for the losses of a batch."""

    def __call__(self, sample: int, masks: int, count: int) -> torch.Tensor:
        """(masks, count, 2) x, y in 0..1 for a sample of the batch, on the CPU."""
        ...


class RandomDraws:
    """Points of each sample from a generator of its own.

    The same samples get the same points however a batch is shared among processes.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, sample: int, masks: int, count: int) -> torch.Tensor:
        """See `Draws`."""
        return torch.rand(masks, count, 2, generator=self._generators[sample])


def at_points(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(N, h, w) maps, (N, P, 2) x, y in 0..1 -> (N, P): bilinear, zero outside."""
    grid = 2 * points[:, None] - 1
    return functional.grid_sample(maps[:, None], grid, align_corners=False)[:, 0, 0]


@torch.no_grad()
def most_uncertain(logits: torch.Tensor, candidates: torch.Tensor, count: int) -> torch.Tensor:
    """The candidates at which masks are least decided.

    Args:
        logits: (N, h, w).
        candidates: (N, C, 2).
        count: how many of them.

    Returns:
        (N, count, 2), the least decided first.
    """
    undecided = -at_points(logits, candidates).abs()
    chosen = undecided.topk(count, dim=1).indices
    return candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
