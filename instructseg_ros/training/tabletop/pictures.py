"""Pictures of a store as tensors, with the noise and exposure of a camera."""

from __future__ import annotations

import numpy as np
import torch

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
