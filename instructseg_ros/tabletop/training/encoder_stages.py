"""Stages 1 and 2: train the vision tower, then the motion perceiver, and cache their features."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.research.training.trainer import LossOutput
from instructseg_ros.tabletop.training.images import encode_once, random_crops, vision_batch
from instructseg_ros.tabletop.training.losses import CellLabels, Stage, cell_labels
from instructseg_ros.tabletop.training.scene_store import (
    CATEGORY,
    COLOR,
    DEPTH,
    FLOW_U,
    FLOW_V,
    FRAMES,
    MOTION,
    MOTIONS,
    SCALE,
    SIZE,
    SceneStore,
)
from instructseg_ros.tabletop.world.catalogue import COLORS, OBJECT_CATEGORIES, SIZES

_SCALE = 0.2  # m, a typical extent
_CENTRE_SIZES = (1, len(OBJECT_CATEGORIES), len(COLORS), len(SIZES), 2, 1, 1)
_COVER_SIZES = (1, len(OBJECT_CATEGORIES), len(COLORS), 2)


class TowerStage(Stage):
    """Vision tower and projector, with auxiliary heads that label the cells of an image."""

    def __init__(self, model: InstructSegModel, store: SceneStore) -> None:
        super().__init__(store)
        self.tower = model.vision_tower
        self.projector = model.projector
        self.centre_head = nn.Linear(model.config.hidden_size, sum(_CENTRE_SIZES))
        self.cover_head = nn.Linear(model.config.hidden_size, sum(_COVER_SIZES))
        self._side = int(model.config.image_tokens**0.5)

    def heads(self) -> list[nn.Module]:
        """Auxiliary heads."""
        return [self.centre_head, self.cover_head]

    def forward(
        self, indices: np.ndarray, rng: np.random.Generator, progress: float = 1.0
    ) -> LossOutput:
        """Compute the loss on random crops of key frames or of their mirror images."""
        mirrored = bool(rng.integers(2))
        frames, objects, labels = random_crops(self._store, indices, rng, mirrored=mirrored)
        return self.cell_loss(self.encode(vision_batch(frames, rng)), objects, labels)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Encode (B, 3, S, S) images in [-1, 1] as (B, V, D) vision tokens, with gradients."""
        return self.projector(self.tower(images.contiguous(memory_format=torch.channels_last)))

    def cell_loss(
        self, tokens: torch.Tensor, objects: np.ndarray, labels: np.ndarray
    ) -> LossOutput:
        """Compute the loss of (B, V, D) image tokens, given the images' objects and labels."""
        cells = cell_labels(objects, labels, self._side)
        centre, parts = self._centre_loss(self.centre_head(tokens).float(), cells)
        cover = self._cover_loss(self.cover_head(tokens).float(), cells)
        return LossOutput(loss=centre + 0.5 * cover, parts=parts)

    def _centre_loss(
        self, out: torch.Tensor, labels: CellLabels
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        there, found = labels.centre >= 0, labels.objects_at(labels.centre)
        exists, category, color, size, offset, scale, depth = out.split(_CENTRE_SIZES, dim=-1)
        named = {
            'category': (category[there], found[:, CATEGORY].long()),
            'color': (color[there], found[:, COLOR].long()),
            'size': (size[there], found[:, SIZE].long()),
        }
        offset_error = (offset[there] - labels.offsets(labels.centre)).abs().mean()
        scale_error = (scale[there][:, 0] - found[:, SCALE] / _SCALE).abs().mean()
        depth_error = (depth[there][:, 0] - found[:, DEPTH]).abs().mean()
        loss = 4 * functional.binary_cross_entropy_with_logits(exists[..., 0], there.float())
        for logits, truth in named.values():
            loss = loss + functional.cross_entropy(logits, truth)
        loss = loss + 3 * offset_error + 3 * scale_error + 3 * depth_error
        accuracies = {name: _accuracy(logits, truth) for name, (logits, truth) in named.items()}
        return loss, {**accuracies, 'offset': offset_error}

    def _cover_loss(self, out: torch.Tensor, labels: CellLabels) -> torch.Tensor:
        there, found = labels.cover >= 0, labels.objects_at(labels.cover)
        exists, category, color, offset = out.split(_COVER_SIZES, dim=-1)
        return (
            functional.binary_cross_entropy_with_logits(exists[..., 0], there.float())
            + functional.cross_entropy(category[there], found[:, CATEGORY].long())
            + functional.cross_entropy(color[there], found[:, COLOR].long())
            + (offset[there] - labels.offsets(labels.cover)).abs().mean()
        )


def _accuracy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (logits.argmax(dim=-1) == labels).float().mean()


_SIZES = (len(MOTIONS) + 1, 2)
_FLOW = 0.025  # focal lengths per stride, a typical flow
_STILL_SHARE = 0.1  # share of scenes in which the key frame replaces its reference frames
_ONE_REFERENCE_SHARE = 0.1


class MotionStage(Stage):
    """Perceiver on cached tokens of three frames, with an auxiliary head that predicts motion."""

    def __init__(self, model: InstructSegModel, store: SceneStore, tokens: np.ndarray) -> None:
        super().__init__(store)
        self.perceiver = model.perceiver
        self.head = nn.Linear(model.config.hidden_size, sum(_SIZES))
        self._tokens = tokens
        self._side = int(model.config.image_tokens**0.5)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw scenes, three quarters of them with a moving object."""
        moves = (self._store.objects[:, :, MOTION] > 0).any(axis=1)
        moving = rng.choice(np.flatnonzero(moves), count * 3 // 4, replace=False)
        still = rng.choice(np.flatnonzero(~moves), count - len(moving), replace=False)
        return np.concatenate([moving, still])

    def forward(
        self, indices: np.ndarray, rng: np.random.Generator, progress: float = 1.0
    ) -> LossOutput:
        """Compute the loss of the motion at every cell with an object."""
        tokens = torch.from_numpy(self._tokens[indices]).float()
        labels = cell_labels(*self._store.key_frames(indices), self._side)
        _drop_references(tokens, labels, rng.random(len(indices)))
        out = self.head(self.perceiver(tokens[:, -1], tokens[:, :-1])).float()
        centre, right = self._loss_at(out, labels, labels.centre)
        cover, _ = self._loss_at(out, labels, labels.cover)
        return LossOutput(loss=centre + 0.5 * cover, parts={'direction': right})

    def _loss_at(
        self, out: torch.Tensor, labels: CellLabels, slots: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the loss at some cells, and the accuracy of the direction of moving objects."""
        direction, flow = out[slots >= 0].split(_SIZES, dim=-1)
        found = labels.objects_at(slots)
        motion = found[:, MOTION].long()
        moved = found[:, [FLOW_U, FLOW_V]]
        entropy = functional.cross_entropy(direction, motion, reduction='none')
        error = (flow - moved / _FLOW).abs().mean(dim=-1)
        moving = motion > 0
        # Only one object in seven moves: without balancing, predicting no motion would be best.
        loss = torch.zeros(())
        for mine in (moving, ~moving):
            loss = loss + (entropy[mine].sum() + error[mine].sum()) / mine.sum().clamp(min=1)
        right = (direction.argmax(dim=-1) == motion)[moving].float().mean()
        return loss, right


def _drop_references(tokens: torch.Tensor, labels: CellLabels, draw: np.ndarray) -> None:
    """Turn some scenes into still images, and some into scenes with a single reference frame."""
    still = torch.from_numpy(draw < _STILL_SHARE)
    single = torch.from_numpy((draw >= _STILL_SHARE) & (draw < _STILL_SHARE + _ONE_REFERENCE_SHARE))
    tokens[still, :-1] = tokens[still, -1:].expand(-1, tokens.shape[1] - 1, -1, -1)
    tokens[single, :-1] = tokens[single, -2:-1].expand(-1, tokens.shape[1] - 1, -1, -1)
    labels.objects[still, :, MOTION] = 0
    labels.objects[still, :, FLOW_U] = 0
    labels.objects[still, :, FLOW_V] = 0


def cache_tokens(model: InstructSegModel, store: SceneStore) -> np.ndarray:
    """Return cached (N, 3, V, D) float16 tokens of all frames; compute them if necessary."""
    config = model.config
    tokens = store.feature('tokens', (FRAMES, config.image_tokens, config.hidden_size))

    def encode(indices: np.ndarray) -> None:
        images = vision_batch(store.vision[indices].reshape(-1, *store.vision.shape[2:]), None)
        out = model.encode_frame(images.contiguous(memory_format=torch.channels_last))
        tokens[indices] = out.float().numpy().reshape(len(indices), *tokens.shape[1:])

    encode_once('tokens', store, model, encode)
    return tokens


def cache_motion(model: InstructSegModel, store: SceneStore, tokens: np.ndarray) -> np.ndarray:
    """Return cached (N, V, D) float16 motion features of key frames; compute them if necessary."""
    motion = store.feature('motion', tokens.shape[2:])

    def encode(indices: np.ndarray) -> None:
        frames = torch.from_numpy(tokens[indices]).float()
        motion[indices] = model.perceiver(frames[:, -1], frames[:, :-1]).float().numpy()

    encode_once('motion', store, model, encode)
    return motion
