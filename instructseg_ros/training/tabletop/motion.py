"""Stage 2: the motion perceiver learns what moved at each cell, on the tower's frozen tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.training.tabletop.cells import CellLabels, cell_labels
from instructseg_ros.training.tabletop.render import MOTIONS
from instructseg_ros.training.tabletop.scenes import FLOW_U, FLOW_V, MOTION, SceneStore

_SIZES = (len(MOTIONS) + 1, 2)
_FLOW = 0.025  # picture widths per stride, a typical flow
_STILL_SHARE = 0.1  # of the pictures: the key frame stands in for its reference frames
_ONE_REFERENCE_SHARE = 0.1


class MotionStage(nn.Module):
    """The perceiver on cached tokens of three frames."""

    def __init__(self, model: InstructSegModel, store: SceneStore, tokens: np.ndarray) -> None:
        super().__init__()
        self.perceiver = model.perceiver
        self.head = nn.Linear(model.config.hidden_size, sum(_SIZES))
        self._store = store
        self._tokens = tokens
        self._side = int(model.config.image_tokens**0.5)

    def draw(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        """Three quarters of the scenes have something that moves."""
        moves = (self._store.things[:, :, MOTION] > 0).any(axis=1)
        moving = rng.choice(np.flatnonzero(moves), batch * 3 // 4, replace=False)
        still = rng.choice(np.flatnonzero(~moves), batch - len(moving), replace=False)
        return np.concatenate([moving, still])

    def loss(
        self, indices: np.ndarray, rng: np.random.Generator | None
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss on some scenes."""
        tokens = torch.from_numpy(self._tokens[indices]).float()
        labels = cell_labels(*self._store.key_frames(indices), self._side)
        if rng is not None:
            _drop_references(tokens, labels, rng.random(len(indices)))
        out = self.head(self.perceiver(tokens[:, -1], tokens[:, :-1])).float()
        centre, right = self._loss_at(out, labels, labels.centre)
        cover, _ = self._loss_at(out, labels, labels.cover)
        return centre + 0.5 * cover, {'movers': right}

    def _loss_at(
        self, out: torch.Tensor, labels: CellLabels, slots: torch.Tensor
    ) -> tuple[torch.Tensor, float]:
        direction, flow = out[slots >= 0].split(_SIZES, dim=-1)
        motion = labels.of(slots, MOTION).long()
        moved = torch.stack([labels.of(slots, FLOW_U), labels.of(slots, FLOW_V)], dim=-1)
        entropy = functional.cross_entropy(direction, motion, reduction='none')
        error = (flow - moved / _FLOW).abs().mean(dim=-1)
        movers = motion > 0
        # One thing in seven moves: without balance, "everything rests" is too good an answer.
        loss = torch.zeros(())
        for mine in (movers, ~movers):
            loss = loss + (entropy[mine].sum() + error[mine].sum()) / mine.sum().clamp(min=1)
        right = (direction.argmax(dim=-1) == motion)[movers].float().mean().item()
        return loss, right


def _drop_references(tokens: torch.Tensor, labels: CellLabels, draw: np.ndarray) -> None:
    """Still pictures, in which nothing moves, and pictures with a single reference frame."""
    still = torch.from_numpy(draw < _STILL_SHARE)
    single = torch.from_numpy((draw >= _STILL_SHARE) & (draw < _STILL_SHARE + _ONE_REFERENCE_SHARE))
    tokens[still, :-1] = tokens[still, -1:].expand(-1, tokens.shape[1] - 1, -1, -1)
    tokens[single, :-1] = tokens[single, -2:-1].expand(-1, tokens.shape[1] - 1, -1, -1)
    labels.things[still, :, MOTION] = 0
    labels.things[still, :, FLOW_U] = 0
    labels.things[still, :, FLOW_V] = 0
