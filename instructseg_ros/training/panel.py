"""What a model sees, should find and finds, as one picture for the logs."""

from __future__ import annotations

import torch
from torch.nn import functional

from instructseg_ros.model.processor import shown
from instructseg_ros.training.batch import Batch
from instructseg_ros.training.learner import Lesson

_TINT = torch.tensor([255.0, 60.0, 60.0])[:, None, None]


def panel(batch: Batch, lesson: Lesson) -> torch.Tensor:
    """(3, H, 3 W) uint8 of a batch's first sample: picture, target, and the best-scored mask."""
    assert batch.pixel_values is not None
    assert lesson.masks is not None and lesson.scores is not None
    picture = shown(batch.pixel_values[0].cpu())
    target = batch.targets[0].any(dim=0).cpu()
    logits = lesson.masks[0, lesson.scores[0].argmax()].float().cpu()
    answer = functional.interpolate(logits[None, None], picture.shape[-2:], mode='bilinear')[0, 0]
    parts = [picture, _tinted(picture, target), _tinted(picture, answer > 0)]
    return torch.cat(parts, dim=-1).to(torch.uint8)


def _tinted(picture: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask, 0.5 * picture + 0.5 * _TINT, picture)
