"""Base class of the stages, with the losses on image cells and on masks that they share."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from instructseg_ros.model.mask_decoder import MaskPredictions
from instructseg_ros.research.training.criterion import dice_loss
from instructseg_ros.research.training.trainer import LossOutput
from instructseg_ros.tabletop.training.scene_store import EXISTS, MAX_OBJECTS, SceneStore, U, V

_EARLY = 0.4  # weight of each prediction before the last
# Weight of an extra loss at edges, whose few cells count little in the mean over a mask.
_EDGES = 2.0
_MAX_DICE = 0.5  # Dice loss up to which a mask shows the right object


class Stage(nn.Module):
    """Base of the stages: parts of the model, and losses on the scenes of a store."""

    def __init__(self, store: SceneStore, *, scenes: int | None = None) -> None:
        """Set the scenes to train on.

        Args:
            scenes: Number of scenes to train on, counted from the first; None: all.
        """
        super().__init__()
        self._store = store
        self._scenes = scenes or store.shape.scenes

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw the indices of different scenes for one step."""
        return rng.choice(self._scenes, count, replace=False)

    def heads(self) -> list[nn.Module]:
        """Auxiliary heads, which the trained model does not keep."""
        return []

    def forward(
        self, indices: np.ndarray, rng: np.random.Generator, progress: float = 1.0
    ) -> LossOutput:
        """Compute the loss on some scenes.

        Args:
            indices: (B,) indices of the scenes.
            rng: Source of the augmentation.
            progress: Share of the steps that are done, 0 to 1.
        """
        raise NotImplementedError


def object_masks(labels: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """Convert (B, H, W) labels to (B, S, h, w): the share of each cell that each object covers."""
    images = torch.from_numpy(np.ascontiguousarray(labels))[:, None]
    slots = torch.arange(1, MAX_OBJECTS + 1, dtype=torch.uint8)[None, :, None, None]
    return functional.adaptive_avg_pool2d((images == slots).float(), size)


def union_masks(masks: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """Return the unions (B, K, Q, h, w) of masks (B, S, h, w) for sets of objects (B, K, Q, S)."""
    return torch.einsum('bkqs,bshw->bkqhw', members, masks).clamp(max=1)


def mask_loss(
    predictions: list[MaskPredictions],
    masks: torch.Tensor,
    members: torch.Tensor,
    weights: torch.Tensor,
    queries: list[int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the mask loss of some queries, and the Dice loss of their last prediction.

    The mask loss sums Dice and cross entropy over the predictions of all decoder layers, and adds
    the cross entropy at the edges of the last prediction.

    Args:
        predictions: Predictions of the decoder, for K instructions on each of B images.
        masks: (B, S, h, w) masks of the objects, at the size of the last prediction.
        members: (B, K, Q, S) objects that each of the queries means.
        weights: (Q,) weight of each query.
        queries: Indices of the Q queries.
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
    return total + _EDGES * edge_loss(logits, targets, weights), dice.detach()


def edge_loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the mean cross entropy at edges of (B, K, Q, h, w) masks, if they fit their object."""
    flat = targets.flatten(0, 2)[:, None]
    spread = functional.max_pool2d(flat, 3, 1, 1) + functional.max_pool2d(-flat, 3, 1, 1)
    edges = (spread > 0).view_as(targets)
    right = dice_loss(logits.detach().flatten(3), targets.flatten(3)) < _MAX_DICE
    share = edges * (right * weights)[..., None, None]
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction='none')
    return (entropy * share).sum() / share.sum().clamp(min=1)


def _losses(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weighted means: of Dice over nonempty targets, and of cross entropy over all masks."""
    present = (targets.sum(dim=-1) > 0).float() * weights
    dice = (dice_loss(logits, targets) * present).sum() / present.sum().clamp(min=1e-6)
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction='none')
    return dice, (entropy.mean(dim=-1) * weights).mean() / weights.mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellLabels:
    """Objects at the V cells of B images; -1 if there is none.

    Args:
        centre: (B, V) int64 slot of the object whose centre lies in the cell.
        cover: (B, V) int64 slot of the object visible at the cell's middle.
        objects: (B, S, 11) float32.
        side: Number of cells in a row.
    """

    centre: torch.Tensor
    cover: torch.Tensor
    objects: torch.Tensor
    side: int

    def objects_at(self, slots: torch.Tensor) -> torch.Tensor:
        """Return (n, 11) the objects at the n cells where `slots` is not -1."""
        image, cell = torch.nonzero(slots >= 0, as_tuple=True)
        return self.objects[image, slots[image, cell]]

    def offsets(self, slots: torch.Tensor) -> torch.Tensor:
        """Return (n, 2) offsets from these cells' middles to their objects' centres, in cells."""
        _, cell = torch.nonzero(slots >= 0, as_tuple=True)
        middle = torch.stack([cell % self.side, cell // self.side], dim=-1) + 0.5
        return self.objects_at(slots)[:, [U, V]] * self.side - middle


def centre_cells(objects: np.ndarray, side: int) -> np.ndarray:
    """Return (..., S) indices of the cells that contain the centres of (..., S, 11) objects."""
    column = np.clip((objects[..., U] * side).astype(int), 0, side - 1)
    row = np.clip((objects[..., V] * side).astype(int), 0, side - 1)
    return row * side + column


def cell_labels(objects: np.ndarray, labels: np.ndarray, side: int) -> CellLabels:
    """Find the objects at the cells of images, from objects (B, S, 11) and labels (B, H, W)."""
    batch = np.arange(len(objects))[:, None]
    centre = np.full((len(objects), side * side), -1)
    for slot in range(objects.shape[1]):
        there = objects[:, slot, EXISTS] > 0
        centre[batch[there, 0], centre_cells(objects[there, slot], side)] = slot
    height, width = labels.shape[1:]
    rows = ((np.arange(side) + 0.5) * height / side).astype(int)
    columns = ((np.arange(side) + 0.5) * width / side).astype(int)
    cover = labels[:, rows[:, None], columns].reshape(len(objects), -1).astype(int) - 1
    return CellLabels(
        centre=torch.from_numpy(centre),
        cover=torch.from_numpy(cover),
        objects=torch.from_numpy(objects),
        side=side,
    )
