"""Stages 1 and 2: the vision tower, then the motion perceiver."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.tabletop.training.images import close_ups, vision_batch
from instructseg_ros.tabletop.training.scene_store import (
    COLOR,
    DEPTH,
    FLOW_U,
    FLOW_V,
    KIND,
    MOTION,
    MOTIONS,
    SCALE,
    SIZE,
    SceneStore,
)
from instructseg_ros.tabletop.training.targets import CellLabels, cell_labels
from instructseg_ros.tabletop.world.catalogue import COLORS, OBJECT_CATEGORIES, SIZES

_SCALE = 0.2  # m, a typical extent
_CENTRE_SIZES = (1, len(OBJECT_CATEGORIES), len(COLORS), len(SIZES), 2, 1, 1)
_COVER_SIZES = (1, len(OBJECT_CATEGORIES), len(COLORS), 2)


class TowerStage(nn.Module):
    """Vision tower and projector, with heads that are dropped after training."""

    def __init__(self, model: InstructSegModel, store: SceneStore) -> None:
        super().__init__()
        self.tower = model.vision_tower
        self.projector = model.projector
        self.centre_head = nn.Linear(model.config.hidden_size, sum(_CENTRE_SIZES))
        self.cover_head = nn.Linear(model.config.hidden_size, sum(_COVER_SIZES))
        self._store = store
        self._side = int(model.config.image_tokens**0.5)

    def heads(self) -> list[nn.Module]:
        """The parts that teach and are dropped after training."""
        return [self.centre_head, self.cover_head]

    def loss(
        self, indices: np.ndarray, rng: np.random.Generator | None
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss on the key frames of some scenes; with a generator on parts and mirror images."""
        if rng is None:
            frames = self._store.vision[indices, -1]
            things, labels = self._store.key_frames(indices)
        else:
            mirrored = bool(rng.integers(2))
            frames, things, labels = close_ups(self._store, indices, rng, mirrored=mirrored)
        return self.cell_loss(self.encode(vision_batch(frames, rng)), things, labels)

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, V, D) vision tokens, with gradients."""
        return self.projector(self.tower(pictures.contiguous(memory_format=torch.channels_last)))

    def cell_loss(
        self, tokens: torch.Tensor, things: np.ndarray, labels: np.ndarray
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """What the tokens (B, V, D) of pictures miss of their things and labels."""
        cells = cell_labels(things, labels, self._side)
        centre, figures = self._centre_loss(self.centre_head(tokens).float(), cells)
        return centre + 0.5 * self._cover_loss(self.cover_head(tokens).float(), cells), figures

    def _centre_loss(
        self, out: torch.Tensor, labels: CellLabels
    ) -> tuple[torch.Tensor, dict[str, float]]:
        there = labels.centre >= 0
        thing, kind, color, size, offset, scale, depth = out.split(_CENTRE_SIZES, dim=-1)
        is_kind = labels.of(labels.centre, KIND).long()
        is_color = labels.of(labels.centre, COLOR).long()
        error = (offset[there] - labels.offsets(labels.centre)).abs().mean()
        loss = (
            4 * functional.binary_cross_entropy_with_logits(thing[..., 0], there.float())
            + functional.cross_entropy(kind[there], is_kind)
            + functional.cross_entropy(color[there], is_color)
            + functional.cross_entropy(size[there], labels.of(labels.centre, SIZE).long())
            + 3 * error
            + 3 * (scale[there][:, 0] - labels.of(labels.centre, SCALE) / _SCALE).abs().mean()
            + 3 * (depth[there][:, 0] - labels.of(labels.centre, DEPTH)).abs().mean()
        )
        return loss, {
            'kind': _accuracy(kind[there], is_kind),
            'color': _accuracy(color[there], is_color),
            'size': _accuracy(size[there], labels.of(labels.centre, SIZE).long()),
            'offset': error.item(),
        }

    def _cover_loss(self, out: torch.Tensor, labels: CellLabels) -> torch.Tensor:
        there = labels.cover >= 0
        thing, kind, color, offset = out.split(_COVER_SIZES, dim=-1)
        return (
            functional.binary_cross_entropy_with_logits(thing[..., 0], there.float())
            + functional.cross_entropy(kind[there], labels.of(labels.cover, KIND).long())
            + functional.cross_entropy(color[there], labels.of(labels.cover, COLOR).long())
            + (offset[there] - labels.offsets(labels.cover)).abs().mean()
        )


def _accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return (logits.argmax(dim=-1) == labels).float().mean().item()


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
