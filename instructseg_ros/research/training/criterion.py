"""Losses of masks and scores, with Mask2Former's matching of mask tokens to targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import torch
from torch.nn import functional

from instructseg_ros.model.mask_decoder import MaskPredictions


class Draws(Protocol):
    """Uniform random points for the losses of a batch."""

    def __call__(self, sample: int, masks: int, count: int) -> torch.Tensor:
        """Draw (masks, count, 2) points x, y in 0..1 for a sample of the batch, on the CPU."""
        ...


class RandomDraws:
    """Draws each sample's points from a random generator of its own.

    A sample gets the same points however a batch is split among processes.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, sample: int, masks: int, count: int) -> torch.Tensor:
        """See `Draws`."""
        return torch.rand(masks, count, 2, generator=self._generators[sample])


def at_points(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Sample (N, h, w) maps at (N, P, 2) points x, y in 0..1 to (N, P): bilinear, zero outside."""
    grid = 2 * points[:, None] - 1
    return functional.grid_sample(maps[:, None], grid, align_corners=False)[:, 0, 0]


@torch.no_grad()
def most_uncertain(logits: torch.Tensor, candidates: torch.Tensor, count: int) -> torch.Tensor:
    """Choose the points at which masks are most uncertain.

    Args:
        logits: (N, h, w) mask logits.
        candidates: (N, C, 2) points to choose from.
        count: Number of points to choose.

    Returns:
        (N, count, 2) points, the most uncertain first.
    """
    uncertain = -at_points(logits, candidates).abs()
    chosen = uncertain.topk(count, dim=1).indices
    return candidates.gather(1, chosen[..., None].expand(-1, -1, 2))


@dataclasses.dataclass(frozen=True)
class Match:
    """Pairs of a sample's mask tokens and targets, in the order of the tokens.

    Args:
        queries: (M,) int64 indices of mask tokens.
        targets: (M,) int64 indices of targets.
    """

    queries: torch.Tensor
    targets: torch.Tensor


@torch.no_grad()
def match(costs: torch.Tensor) -> Match:
    """Assign targets to tokens by (Q, M) costs with M <= Q (Hungarian method)."""
    from scipy.optimize import linear_sum_assignment

    queries, targets = linear_sum_assignment(costs.float().cpu().numpy())
    return Match(torch.as_tensor(queries), torch.as_tensor(targets))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CriterionConfig:
    """Settings of the losses; the defaults are the paper's.

    Args:
        score_weight: Weight of the score loss.
        mask_weight: Weight of the cross entropy of masks, in the loss and in the matching.
        dice_weight: Weight of the Dice loss, in the loss and in the matching.
        points: Number of points at which a mask is compared.
        oversampling: Candidates for uncertain points, as a multiple of `points`.
        importance: Share of the points that are chosen where the mask is most uncertain.
    """

    score_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    points: int = 12_544
    oversampling: float = 3.0
    importance: float = 0.75


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskLosses:
    """Unweighted losses of one prediction."""

    score: torch.Tensor
    mask: torch.Tensor
    dice: torch.Tensor


class Criterion:
    """Compares a batch's predictions with its targets."""

    def __init__(self, config: CriterionConfig) -> None:
        self.config = config

    def __call__(
        self,
        predictions: Sequence[MaskPredictions],
        targets: Sequence[torch.Tensor],
        draws: Sequence[Draws],
        num_masks: float,
    ) -> list[MaskLosses]:
        """Compute the losses of every prediction.

        Args:
            predictions: Predictions of each depth, all for the same B frames, one instruction each.
            targets: For each frame, (M, H, W) 0 or 1 on the mask branch's canvas; M may be 0.
            draws: Random points of each prediction.
            num_masks: Number of targets in a batch, averaged over processes; at least 1.
        """
        return [
            self._losses(prediction, targets, points, num_masks)
            for prediction, points in zip(predictions, draws, strict=True)
        ]

    def total(self, losses: Sequence[MaskLosses]) -> torch.Tensor:
        """Return the weighted sum of all losses."""
        config, total = self.config, torch.zeros(())
        for each in losses:
            masks = config.mask_weight * each.mask + config.dice_weight * each.dice
            total = total + (config.score_weight * each.score + masks)
        return total

    def match(
        self, masks: torch.Tensor, targets: Sequence[torch.Tensor], draws: Draws
    ) -> list[Match]:
        """Assign each sample's targets to its mask tokens by their (B, Q, h, w) mask logits."""
        matches = []
        for sample, (logits, true) in enumerate(zip(masks, targets, strict=True)):
            points = draws(sample, 1, self.config.points).to(logits.device)
            matches.append(match(self.costs(logits, true, points)))
        return matches

    @torch.no_grad()
    def costs(
        self, logits: torch.Tensor, targets: torch.Tensor, points: torch.Tensor
    ) -> torch.Tensor:
        """Compute each token's cost for each target: cross entropy plus Dice, at shared points.

        The cost does not include scores, as in the authors' matcher.

        Args:
            logits: (Q, h, w) mask logits of a sample's tokens.
            targets: (M, H, W) 0 or 1.
            points: (1, P, 2) x, y in 0..1.

        Returns:
            (Q, M) float32.
        """
        predicted = at_points(logits.float(), points.expand(len(logits), -1, -1))
        true = at_points(targets.float(), points.expand(len(targets), -1, -1))
        entropy = functional.softplus(-predicted) @ true.T
        entropy = entropy + functional.softplus(predicted) @ (1 - true).T
        probabilities = predicted.sigmoid()
        total = probabilities.sum(dim=1)[:, None] + true.sum(dim=1)[None]
        dice = 1 - (2 * (probabilities @ true.T) + 1) / (total + 1)
        weights = self.config
        return weights.mask_weight * entropy / predicted.shape[1] + weights.dice_weight * dice

    def points(self, logits: torch.Tensor, counts: Sequence[int], draws: Draws) -> torch.Tensor:
        """Draw the points at which matched masks are compared: uncertain ones and random ones.

        Args:
            logits: (N, h, w) logits of the matched tokens, sample after sample.
            counts: Number of matched tokens of each sample.
            draws: Random points to choose from.

        Returns:
            (N, P, 2) x, y in 0..1.
        """
        config = self.config
        uncertain = int(config.importance * config.points)
        candidates = _draw(draws, counts, int(config.points * config.oversampling))
        rest = _draw(draws, counts, config.points - uncertain)
        chosen = most_uncertain(logits, candidates.to(logits.device), uncertain)
        return torch.cat([chosen, rest.to(logits.device)], dim=1)

    def _losses(
        self,
        prediction: MaskPredictions,
        targets: Sequence[torch.Tensor],
        draws: Draws,
        num_masks: float,
    ) -> MaskLosses:
        masks = prediction.mask_logits[:, 0].float()
        scores = prediction.score_logits[:, 0].float()
        matches = self.match(masks.detach(), targets, draws)
        logits = torch.cat([all_of[m.queries] for all_of, m in zip(masks, matches, strict=True)])
        true = torch.cat([each[m.targets] for each, m in zip(targets, matches, strict=True)])
        points = self.points(logits, [len(m.queries) for m in matches], draws)
        predicted = at_points(logits, points)
        expected = at_points(true.float(), points)
        return MaskLosses(
            score=_score_loss(scores, matches, num_masks),
            mask=_mask_loss(predicted, expected) / num_masks,
            dice=dice_loss(predicted, expected).sum() / num_masks,
        )


def _draw(draws: Draws, counts: Sequence[int], points: int) -> torch.Tensor:
    return torch.cat([draws(sample, count, points) for sample, count in enumerate(counts)])


def _score_loss(scores: torch.Tensor, matches: Sequence[Match], num_masks: float) -> torch.Tensor:
    """Compute the cross entropy of scores; matched and other tokens have equal total weight."""
    true = torch.zeros_like(scores)
    for row, found in zip(true, matches, strict=True):
        row[found.queries] = 1
    weight = scores.new_tensor((scores.numel() - num_masks) / num_masks)
    return functional.binary_cross_entropy_with_logits(scores, true, pos_weight=weight)


def _mask_loss(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    entropy = functional.binary_cross_entropy_with_logits(logits, true, reduction='none')
    return entropy.mean(dim=1).sum()


def dice_loss(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Compute the Dice loss of masks over their P points or pixels, (..., P) -> (...)."""
    probabilities = logits.sigmoid()
    overlap = (probabilities * true).sum(dim=-1)
    return 1 - (2 * overlap + 1) / (probabilities.sum(dim=-1) + true.sum(dim=-1) + 1)
