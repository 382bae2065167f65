"""Images of a scene store as tensors, whole or seen from nearer."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from instructseg_ros.tabletop.training.scene_store import DEPTH, EXISTS, SceneStore, U, V

_MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
_STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]


def as_seen(pictures: np.ndarray, *, mirrored: bool) -> np.ndarray:
    """(..., H, W, 3) pictures, or their mirror images."""
    return pictures[..., ::-1, :] if mirrored else pictures


def vision_batch(pictures: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
    """(B, ..., S, S, 3) uint8 -> (B, ..., 3, S, S) in [-1, 1], disturbed with a generator.

    The frames of one scene share their exposure, as those of one camera do.
    """
    return _disturbed(pictures, rng) / 127.5 - 1


def mask_batch(pictures: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) as the mask branch expects it."""
    return (_disturbed(pictures, rng) - _MEAN) / _STD


def _disturbed(pictures: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
    x = torch.from_numpy(np.ascontiguousarray(pictures)).movedim(-1, -3).float()
    if rng is None:
        return x
    size = (len(x), *[1] * (x.dim() - 1))
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, size)).float()
    balance = torch.from_numpy(rng.uniform(0.96, 1.04, (*size[:-3], 3, 1, 1))).float()
    strength = torch.from_numpy(rng.uniform(0, 10, size)).float()
    noise = strength * torch.empty_like(x).uniform_(-1, 1)
    return (x * gain * balance + noise).clamp(0, 255)


_WHOLE = 0.5  # share of the pictures that stay as they are
_MOST = 1.3  # how much nearer others come


def close_ups(
    store: SceneStore, indices: np.ndarray, rng: np.random.Generator, *, mirrored: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts of key frames or of their mirror images, each as large as the whole was.

    Returns:
        (B, S, S, 3) uint8 pictures, (B, MAX_THINGS, 11) things and (B, H, W) labels.
    """
    things, labels = store.key_frames(indices, mirrored=mirrored)
    pictures = as_seen(store.vision[indices, -1], mirrored=mirrored)
    for one in np.flatnonzero(rng.random(len(indices)) >= _WHOLE):
        nearer = float(np.exp(rng.uniform(0, np.log(_MOST))))
        corner = rng.uniform(0, 1 - 1 / nearer, 2)
        image = as_seen(store.image[indices[one]], mirrored=mirrored)
        pictures[one] = _part(image, corner, nearer, pictures.shape[1:3], 'BICUBIC')
        labels[one] = _part(labels[one], corner, nearer, labels.shape[1:], 'NEAREST')
        _come_nearer(things[one], corner, nearer)
    return pictures, things, labels


def _part(
    picture: np.ndarray, corner: np.ndarray, nearer: float, size: tuple[int, ...], method: str
) -> np.ndarray:
    height, width = picture.shape[:2]
    left, top = corner * (width, height)
    box = (left, top, left + width / nearer, top + height / nearer)
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize(size[::-1], Image.Resampling[method], box))


def _come_nearer(things: np.ndarray, corner: np.ndarray, nearer: float) -> None:
    """Move (MAX_THINGS, 11) things in place; a thing whose centre is left out counts as gone.

    A camera that much nearer would see such a picture: depths shrink, sizes in metres stay.
    """
    things[:, [U, V]] = (things[:, [U, V]] - corner) * nearer
    things[:, DEPTH] /= nearer
    things[:, EXISTS] *= ((things[:, [U, V]] >= 0) & (things[:, [U, V]] < 1)).all(axis=-1)
