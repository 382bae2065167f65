"""Stage 3: pixel branch and mask decoder learn to cut out what a prompt describes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.pixel_branch import PixelFeatures
from instructseg_ros.tabletop.training.images import as_seen, mask_batch
from instructseg_ros.tabletop.training.scene_store import COLOR, EXISTS, KIND, SceneStore, U, V
from instructseg_ros.tabletop.training.targets import mask_loss, thing_masks
from instructseg_ros.tabletop.world.catalogue import COLORS, OBJECT_CATEGORIES

_OCTAVES = 8
_PLACE = 4 * _OCTAVES
_PROMPT = _PLACE + len(OBJECT_CATEGORIES) + len(COLORS) + 3
# Shares of prompts that give the place, the place and the looks, and the looks only.
_PLACE_SHARE, _ALL_SHARE = 0.45, 0.15
_WRONG_SHARE = 0.15  # of the prompts by looks: what they describe is mostly not there


class PixelStage(nn.Module):
    """Pixel branch and mask decoder, prompted in place of the language model."""

    def __init__(self, model: InstructSegModel, store: SceneStore) -> None:
        super().__init__()
        width = model.config.mask_config.hidden_dim
        self.pixel_branch = model.pixel_branch
        self.mask_decoder = model.mask_decoder
        self.prompt = nn.Sequential(nn.Linear(_PROMPT, 192), nn.GELU(), nn.Linear(192, width))
        features = model.config.mask_config.feature_size
        self.cover_head = nn.Conv2d(features, 2 + len(OBJECT_CATEGORIES) + len(COLORS) + 2, 1)
        in_full_precision(model.pixel_branch.decoder.encoder)
        self._store = store
        self._queries = model.config.num_queries

    def loss(
        self, indices: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss on the key frames of some scenes, with a prompt for each query."""
        mirrored = bool(rng.integers(2))
        frames = self._store.image[indices]
        pictures = mask_batch(as_seen(frames, mirrored=mirrored), rng)
        features = self.pixel_branch(pictures.contiguous(memory_format=torch.channels_last))
        things, labels = self._store.key_frames(indices, mirrored=mirrored)
        prompts, members = draw_prompts(things, self._queries, rng)
        queries = self.prompt(prompts)[:, None]
        masks = thing_masks(labels, features.mask_features.shape[-2:])
        predictions = self.mask_decoder(queries, torch.zeros_like(queries[:, :, 0]), features)
        everything = list(range(self._queries))
        weights = torch.ones(self._queries)
        loss, dice = mask_loss(predictions, masks, members[:, None], weights, everything)
        cover, kind = self._cover_loss(features, labels, torch.from_numpy(things))
        return loss + cover, {'dice': dice, 'kind': kind}

    def _cover_loss(
        self, features: PixelFeatures, labels: np.ndarray, things: torch.Tensor
    ) -> tuple[torch.Tensor, float]:
        out = self.cover_head(features.levels[-1]).float()
        height, width = out.shape[-2:]
        step = labels.shape[1] // height
        slots = torch.from_numpy(labels[:, step // 2 :: step, step // 2 :: step].astype(int)) - 1
        there = slots >= 0
        picture, row, column = torch.nonzero(there, as_tuple=True)
        mine = things[picture, slots[there]]
        out = out.permute(0, 2, 3, 1)
        _, kind, color, centre = out[there].split(
            (2, len(OBJECT_CATEGORIES), len(COLORS), 2), dim=-1
        )
        where = torch.stack(
            [mine[:, U] - (column + 0.5) / width, mine[:, V] - (row + 0.5) / height], dim=-1
        )
        loss = (
            functional.cross_entropy(out[..., :2].flatten(0, 2), there.flatten().long())
            + functional.cross_entropy(kind, mine[:, KIND].long())
            + functional.cross_entropy(color, mine[:, COLOR].long())
            + 5 * (centre - where).abs().mean()
        )
        return loss, (kind.argmax(dim=-1) == mine[:, KIND]).float().mean().item()


def draw_prompts(
    things: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Describe things by their place, their looks or both.

    Returns:
        prompts: (B, count, features), and members: (B, count, S), the things they fit.
    """
    batch = len(things)
    number = things[:, :, EXISTS].sum(axis=1).astype(int)
    pick = (rng.random((batch, count)) * np.maximum(number, 1)[:, None]).astype(int)
    chosen = things[np.arange(batch)[:, None], pick]
    draw = rng.random((batch, count))
    by_place = draw < _PLACE_SHARE + _ALL_SHARE
    by_looks = draw >= _PLACE_SHARE
    looks = rng.integers(0, 3, (batch, count))
    by_kind = by_looks & ((looks != 1) | by_place)
    by_color = by_looks & ((looks != 0) | by_place)
    kind = _wrong(chosen[..., KIND], by_kind & ~by_place, len(OBJECT_CATEGORIES), rng)
    color = _wrong(chosen[..., COLOR], by_color & ~by_place, len(COLORS), rng)
    fits = (things[:, None, :, KIND] == kind[..., None]) | ~by_kind[..., None]
    fits &= (things[:, None, :, COLOR] == color[..., None]) | ~by_color[..., None]
    fits &= things[:, None, :, EXISTS] > 0
    own = np.arange(things.shape[1]) == pick[..., None]
    members = np.where(by_place[..., None], own & (things[:, None, :, EXISTS] > 0), fits)
    place = chosen[..., [U, V]] + rng.normal(0, 0.008, (batch, count, 2))
    parts = [
        _octaves(place) * by_place[..., None],
        np.eye(len(OBJECT_CATEGORIES))[kind] * by_kind[..., None],
        np.eye(len(COLORS))[color] * by_color[..., None],
        np.stack([by_place, by_kind, by_color], axis=-1),
    ]
    prompts = torch.from_numpy(np.concatenate(parts, axis=-1)).float()
    return prompts, torch.from_numpy(members).float()


def in_full_precision(module: nn.Module) -> None:
    """Keep a module out of autocast: products of two precisions are slow on a CPU."""
    forward = module.forward

    def forward_in_float32(**tensors: Any) -> Any:
        with torch.autocast('cpu', enabled=False):
            return forward(**{name: _float32(value) for name, value in tensors.items()})

    module.forward = forward_in_float32


def _float32(value: Any) -> Any:
    is_half = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.float() if is_half else value


def _wrong(true: np.ndarray, may: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    wrong = may & (rng.random(true.shape) < _WRONG_SHARE)
    return np.where(wrong, rng.integers(0, classes, true.shape), true.astype(int))


def _octaves(place: np.ndarray) -> np.ndarray:
    angles = place[..., None] * (np.pi / 2 * 2.0 ** np.arange(_OCTAVES))
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    return waves.reshape(*place.shape[:-1], _PLACE)
