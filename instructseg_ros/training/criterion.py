"""The losses of masks and scores, with deep supervision (Mask2Former, spec 6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch.nn import functional

from instructseg_ros.model.mask_decoder import MaskPredictions
from instructseg_ros.training.matching import Match, match, matching_costs
from instructseg_ros.training.points import Draws, at_points, most_uncertain


@dataclasses.dataclass(frozen=True, kw_only=True)
class CriterionConfig:
    """Numbers of the losses; the defaults are the paper's.

    Args:
        score_weight, mask_weight, dice_weight: of the three losses, and of the matching's costs.
        points: at which a mask is compared.
        oversampling: candidates for each of them.
        importance: share of the points that are where the mask is least decided.
    """

    score_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    points: int = 12_544
    oversampling: float = 3.0
    importance: float = 0.75


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskLosses:
    """Losses of one prediction, before their weights."""

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
        """Losses of every prediction.

        Args:
            predictions: of B frames with one instruction each.
            targets: of each frame (M, H, W) 0 or 1 on the mask branch's canvas, M may be 0.
            draws: of each prediction.
            num_masks: targets of the batch, or where it is one of several that are learned from
                together, their mean number; at least 1.
        """
        return [
            self._losses(prediction, targets, points, num_masks)
            for prediction, points in zip(predictions, draws, strict=True)
        ]

    def total(self, losses: Sequence[MaskLosses]) -> torch.Tensor:
        """The weighted sum that is learned from."""
        return sum((self._weighted(each) for each in losses), torch.zeros(()))

    def match(
        self, masks: torch.Tensor, targets: Sequence[torch.Tensor], draws: Draws
    ) -> list[Match]:
        """Assign each sample's targets to its tokens, (B, Q, h, w) mask logits."""
        matches = []
        for sample, (logits, true) in enumerate(zip(masks, targets, strict=True)):
            points = draws(sample, 1, self.config.points).to(logits.device)
            matches.append(match(self.costs(logits, true, points)))
        return matches

    def costs(
        self, logits: torch.Tensor, targets: torch.Tensor, points: torch.Tensor
    ) -> torch.Tensor:
        """(Q, M) costs of a sample's assignment, see `matching_costs`."""
        return matching_costs(
            logits, targets, points,
            mask_weight=self.config.mask_weight, dice_weight=self.config.dice_weight,
        )  # fmt: skip

    def points(self, logits: torch.Tensor, counts: Sequence[int], draws: Draws) -> torch.Tensor:
        """Points at which matched masks are compared: the undecided ones, and some of all.

        Args:
            logits: (N, h, w) of the matched tokens, sample after sample.
            counts: of each sample how many are matched.

        Returns:
            (N, P, 2).
        """
        config = self.config
        undecided = int(config.importance * config.points)
        candidates = _draw(draws, counts, int(config.points * config.oversampling))
        rest = _draw(draws, counts, config.points - undecided)
        chosen = most_uncertain(logits, candidates.to(logits.device), undecided)
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
            dice=_dice_loss(predicted, expected) / num_masks,
        )

    def _weighted(self, losses: MaskLosses) -> torch.Tensor:
        config = self.config
        return (
            config.score_weight * losses.score
            + config.mask_weight * losses.mask
            + config.dice_weight * losses.dice
        )


def _draw(draws: Draws, counts: Sequence[int], points: int) -> torch.Tensor:
    return torch.cat([draws(sample, count, points) for sample, count in enumerate(counts)])


def _score_loss(
    scores: torch.Tensor, matches: Sequence[Match], num_masks: float
) -> torch.Tensor:
    """Matched tokens say yes, all others no, which together weigh the same."""
    true = torch.zeros_like(scores)
    for row, found in zip(true, matches, strict=True):
        row[found.queries] = 1
    weight = scores.new_tensor((scores.numel() - num_masks) / num_masks)
    return functional.binary_cross_entropy_with_logits(scores, true, pos_weight=weight)


def _mask_loss(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    entropy = functional.binary_cross_entropy_with_logits(logits, true, reduction='none')
    return entropy.mean(dim=1).sum()


def _dice_loss(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    probabilities = logits.sigmoid()
    overlap = (probabilities * true).sum(dim=1)
    return (1 - (2 * overlap + 1) / (probabilities.sum(dim=1) + true.sum(dim=1) + 1)).sum()
