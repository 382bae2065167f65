"""Stage 3: trains pixel branch and mask decoder with simple prompts, and caches features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.pixel_branch import PixelFeatures
from instructseg_ros.research.training.trainer import LossOutput
from instructseg_ros.tabletop.training.images import encode_once, flipped, mask_batch
from instructseg_ros.tabletop.training.losses import Stage, mask_loss, object_masks
from instructseg_ros.tabletop.training.scene_store import CATEGORY, COLOR, EXISTS, SceneStore, U, V
from instructseg_ros.tabletop.world.catalogue import COLORS, OBJECT_CATEGORIES

_OCTAVES = 8
_PLACE = 4 * _OCTAVES
_PROMPT = _PLACE + len(OBJECT_CATEGORIES) + len(COLORS) + 3
# Shares of the prompts that give only the place of an object, and of those that give its place and
# its looks (category and color). The other prompts give only category, color or both.
_PLACE_SHARE, _ALL_SHARE = 0.45, 0.15
_WRONG_SHARE = 0.15  # share of random categories and colors in prompts without a place


class PixelStage(Stage):
    """Pixel branch and mask decoder, prompted without the language model."""

    def __init__(self, model: InstructSegModel, store: SceneStore) -> None:
        super().__init__(store)
        width = model.config.mask_config.hidden_dim
        self.pixel_branch = model.pixel_branch
        self.mask_decoder = model.mask_decoder
        self.prompt = nn.Sequential(nn.Linear(_PROMPT, 192), nn.GELU(), nn.Linear(192, width))
        features = model.config.mask_config.feature_size
        self.cover_head = nn.Conv2d(features, 2 + len(OBJECT_CATEGORIES) + len(COLORS) + 2, 1)
        keep_full_precision(model.pixel_branch.decoder.encoder)
        self._queries = model.config.num_queries

    def forward(
        self, indices: np.ndarray, rng: np.random.Generator, progress: float = 1.0
    ) -> LossOutput:
        """Compute the loss on key frames, with a random prompt for each query."""
        mirrored = bool(rng.integers(2))
        frames = flipped(self._store.image[indices], mirrored=mirrored)
        features = self.pixel_branch(mask_batch(frames, rng))
        objects, labels = self._store.key_frames(indices, mirrored=mirrored)
        prompts, members = draw_prompts(objects, self._queries, rng)
        queries = self.prompt(prompts)[:, None]
        masks = object_masks(labels, features.mask_features.shape[-2:])
        predictions = self.mask_decoder(queries, torch.zeros_like(queries[:, :, 0]), features)
        everything = list(range(self._queries))
        weights = torch.ones(self._queries)
        loss, dice = mask_loss(predictions, masks, members[:, None], weights, everything)
        cover, accuracy = self._cover_loss(features, labels, torch.from_numpy(objects))
        return LossOutput(loss=loss + cover, parts={'dice': dice, 'category': accuracy})

    def _cover_loss(
        self, features: PixelFeatures, labels: np.ndarray, objects: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the loss of the object labels of all finest cells, and the category accuracy."""
        out = self.cover_head(features.levels[-1]).float()
        height, width = out.shape[-2:]
        step = labels.shape[1] // height
        slots = torch.from_numpy(labels[:, step // 2 :: step, step // 2 :: step].astype(int)) - 1
        there = slots >= 0
        image, row, column = torch.nonzero(there, as_tuple=True)
        mine = objects[image, slots[there]]
        out = out.permute(0, 2, 3, 1)
        _, category, color, centre = out[there].split(
            (2, len(OBJECT_CATEGORIES), len(COLORS), 2), dim=-1
        )
        where = torch.stack(
            [mine[:, U] - (column + 0.5) / width, mine[:, V] - (row + 0.5) / height], dim=-1
        )
        loss = (
            functional.cross_entropy(out[..., :2].flatten(0, 2), there.flatten().long())
            + functional.cross_entropy(category, mine[:, CATEGORY].long())
            + functional.cross_entropy(color, mine[:, COLOR].long())
            + 5 * (centre - where).abs().mean()
        )
        return loss, (category.argmax(dim=-1) == mine[:, CATEGORY]).float().mean()


def draw_prompts(
    objects: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Describe random objects by their place, their looks or both.

    Args:
        objects: (B, S, 11) objects of B images.
        count: Number of prompts for each image.

    Returns:
        (B, count, features) prompts, and (B, count, S) float32, 1 for the objects that each
        prompt describes.
    """
    batch = len(objects)
    number = objects[:, :, EXISTS].sum(axis=1).astype(int)
    pick = (rng.random((batch, count)) * np.maximum(number, 1)[:, None]).astype(int)
    chosen = objects[np.arange(batch)[:, None], pick]
    draw = rng.random((batch, count))
    by_place = draw < _PLACE_SHARE + _ALL_SHARE
    by_looks = draw >= _PLACE_SHARE
    looks = rng.integers(0, 3, (batch, count))
    by_category = by_looks & ((looks != 1) | by_place)
    by_color = by_looks & ((looks != 0) | by_place)
    category = _wrong(chosen[..., CATEGORY], by_category & ~by_place, len(OBJECT_CATEGORIES), rng)
    color = _wrong(chosen[..., COLOR], by_color & ~by_place, len(COLORS), rng)
    fits = (objects[:, None, :, CATEGORY] == category[..., None]) | ~by_category[..., None]
    fits &= (objects[:, None, :, COLOR] == color[..., None]) | ~by_color[..., None]
    fits &= objects[:, None, :, EXISTS] > 0
    own = np.arange(objects.shape[1]) == pick[..., None]
    members = np.where(by_place[..., None], own & (objects[:, None, :, EXISTS] > 0), fits)
    place = chosen[..., [U, V]] + rng.normal(0, 0.008, (batch, count, 2))
    parts = [
        _octaves(place) * by_place[..., None],
        np.eye(len(OBJECT_CATEGORIES))[category] * by_category[..., None],
        np.eye(len(COLORS))[color] * by_color[..., None],
        np.stack([by_place, by_category, by_color], axis=-1),
    ]
    prompts = torch.from_numpy(np.concatenate(parts, axis=-1)).float()
    return prompts, torch.from_numpy(members).float()


def keep_full_precision(module: nn.Module) -> None:
    """Exclude a module from autocast: products of mixed precisions are slow on a CPU."""
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


class FeatureStore:
    """Cached features of the pixel branch."""

    def __init__(self, store: SceneStore, model: InstructSegModel) -> None:
        height, width = store.shape.mask_size
        with torch.inference_mode():
            probe = model.encode_pixels(torch.zeros(1, 3, height, width))
        self._coarse = store.feature('coarse', tuple(probe.coarse.shape[1:]))
        self._levels = [
            store.feature(f'level{i}', tuple(level.shape[1:]))
            for i, level in enumerate(probe.levels)
        ]
        self._masks = store.feature('mask_features', tuple(probe.mask_features.shape[1:]))

    def write(self, indices: np.ndarray, features: PixelFeatures) -> None:
        """Store the features of some scenes."""
        self._coarse[indices] = features.coarse.float().numpy()
        for array, level in zip(self._levels, features.levels, strict=True):
            array[indices] = level.float().numpy()
        self._masks[indices] = features.mask_features.float().numpy()

    def read(self, indices: np.ndarray) -> PixelFeatures:
        """Read the features of some scenes."""
        return PixelFeatures(
            coarse=torch.from_numpy(self._coarse[indices]).float(),
            levels=tuple(torch.from_numpy(level[indices]).float() for level in self._levels),
            mask_features=torch.from_numpy(self._masks[indices]).float(),
        )


def cache_pixels(model: InstructSegModel, store: SceneStore, scenes: int) -> FeatureStore:
    """Return cached pixel features of the first `scenes` key frames; compute them if necessary."""
    features = FeatureStore(store, model)

    def encode(indices: np.ndarray) -> None:
        features.write(indices, model.encode_pixels(mask_batch(store.image[indices], None)))

    encode_once('pixels', store, model, encode, scenes)
    return features
