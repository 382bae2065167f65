"""Training targets on image cells and dense maps, with their losses."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch.nn import functional

from instructseg_ros.model.mask_decoder import MaskPredictions
from instructseg_ros.tabletop.training.scene_store import EXISTS, MAX_THINGS, U, V

_EARLY = 0.4  # weight of each prediction before the last
# Edges are few cells: next to what they cost, a wrong thing would hide a blunt edge.
_EDGES = 2.0
_RIGHT = 0.5  # Dice loss up to which a mask is of the right thing


def thing_masks(labels: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """(B, H, W) labels -> (B, S, h, w) share of each cell that each thing covers."""
    pictures = torch.from_numpy(np.ascontiguousarray(labels))[:, None]
    slots = torch.arange(1, MAX_THINGS + 1, dtype=torch.uint8)[None, :, None, None]
    return functional.adaptive_avg_pool2d((pictures == slots).float(), size)


def union_masks(masks: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """(B, S, h, w) masks and (B, K, Q, S) members -> (B, K, Q, h, w) of their unions."""
    return torch.einsum('bkqs,bshw->bkqhw', members, masks).clamp(max=1)


def mask_loss(
    predictions: list[MaskPredictions],
    masks: torch.Tensor,
    members: torch.Tensor,
    weights: torch.Tensor,
    queries: list[int],
) -> tuple[torch.Tensor, float]:
    """Dice and cross entropy of some queries, over the predictions of all decoder layers.

    Of the last one, once more at the edges alone.

    Args:
        masks: (B, S, h, w) of the things, at the size of the last prediction.
        members: (B, K, Q, S) the things that each of those queries means.
        weights: (Q,) weight of each.
    """
    total = torch.zeros(())
    dice = torch.zeros(())
    fine = union_masks(masks, members)
    size = predictions[0].mask_logits.shape[-2:]
    coarse = union_masks(functional.adaptive_avg_pool2d(masks, size), members)
    for number, prediction in enumerate(predictions):
        logits = prediction.mask_logits[:, :, queries].float()
        targets = coarse if logits.shape[-2:] == size else fine
        dice, entropy = _losses(logits.flatten(3), targets.flatten(3), weights)
        factor = 1.0 if number == len(predictions) - 1 else _EARLY
        total = total + factor * (2 * dice + 10 * entropy)
    return total + _EDGES * edge_loss(logits, targets, weights), dice.item()


def edge_loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy around the edges of masks (B, K, Q, h, w) that are of the right thing."""
    flat = targets.flatten(0, 2)[:, None]
    spread = functional.max_pool2d(flat, 3, 1, 1) + functional.max_pool2d(-flat, 3, 1, 1)
    edges = (spread > 0).view_as(targets)
    right = _dice(logits.detach().flatten(3), targets.flatten(3)) < _RIGHT
    share = edges * (right * weights)[..., None, None]
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction='none')
    return (entropy * share).sum() / share.sum().clamp(min=1)


def _losses(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted means: Dice over the masks that are there, cross entropy over all."""
    present = (targets.sum(dim=-1) > 0).float() * weights
    dice = (_dice(logits, targets) * present).sum() / present.sum().clamp(min=1e-6)
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction='none')
    return dice, (entropy.mean(dim=-1) * weights).mean() / weights.mean()


def _dice(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    share = logits.sigmoid()
    both = (share * targets).sum(dim=-1)
    return 1 - (2 * both + 1) / (share.sum(dim=-1) + targets.sum(dim=-1) + 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellLabels:
    """Labels of V cells of B pictures; -1 where there is no thing.

    Args:
        centre: (B, V) int64 slot of the thing whose centre lies in the cell.
        cover: (B, V) int64 slot of the thing seen at the cell's middle.
        things: (B, S, 11) float32.
        side: cells of one row.
    """

    centre: torch.Tensor
    cover: torch.Tensor
    things: torch.Tensor
    side: int

    def of(self, slots: torch.Tensor, column: int) -> torch.Tensor:
        """A column of the things at the cells where `slots` is not -1, flattened."""
        picture, cell = torch.nonzero(slots >= 0, as_tuple=True)
        return self.things[picture, slots[picture, cell], column]

    def offsets(self, slots: torch.Tensor) -> torch.Tensor:
        """(n, 2) from the cell's middle to its thing's centre, in cells."""
        _, cell = torch.nonzero(slots >= 0, as_tuple=True)
        u = self.of(slots, U) * self.side - cell % self.side - 0.5
        v = self.of(slots, V) * self.side - cell // self.side - 0.5
        return torch.stack([u, v], dim=-1)


def cell_of(things: np.ndarray, side: int) -> np.ndarray:
    """(..., S, 11) things -> (..., S) index of the cell that holds each centre."""
    column = np.clip((things[..., U] * side).astype(int), 0, side - 1)
    row = np.clip((things[..., V] * side).astype(int), 0, side - 1)
    return row * side + column


def cell_labels(things: np.ndarray, labels: np.ndarray, side: int) -> CellLabels:
    """Labels of the cells of pictures, from their things (B, S, 11) and labels (B, H, W)."""
    batch = np.arange(len(things))[:, None]
    centre = np.full((len(things), side * side), -1)
    for slot in range(things.shape[1]):
        there = things[:, slot, EXISTS] > 0
        centre[batch[there, 0], cell_of(things[there, slot], side)] = slot
    height, width = labels.shape[1:]
    rows = ((np.arange(side) + 0.5) * height / side).astype(int)
    columns = ((np.arange(side) + 0.5) * width / side).astype(int)
    cover = labels[:, rows[:, None], columns].reshape(len(things), -1).astype(int) - 1
    return CellLabels(
        centre=torch.from_numpy(centre),
        cover=torch.from_numpy(cover),
        things=torch.from_numpy(things),
        side=side,
    )
