"""What the model learns from in one step."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from instructseg_ros.model.states import Prompt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """B samples of one form: all still images, all videos of as many frames, or conversations.

    Args:
        keys: of the samples.
        seeds: of each sample's random points.
        vision_values: (B, 3, S, S) key frames of the vision tower.
        reference_values: (B, T, 3, S, S) reference frames, or None.
        pixel_values: (B, 3, H, W) key frames of the mask branch; None for conversations.
        prompt: one instruction or conversation each, with its answer.
        labels: (B, L) for each token of the prompt the one to be said after it, or `IGNORED`.
        targets: of each sample (M, H, W) bool on the mask branch's canvas: one mask, or none where
            the target is not there. Empty for conversations.
        skipped: what was wrong with samples in whose places others are.
    """

    keys: tuple[str, ...]
    seeds: tuple[int, ...]
    vision_values: torch.Tensor
    reference_values: torch.Tensor | None
    pixel_values: torch.Tensor | None
    prompt: Prompt
    labels: torch.Tensor
    targets: tuple[torch.Tensor, ...]
    skipped: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), torch.Tensor | Prompt)
        }
        targets = tuple(target.to(device) for target in self.targets)
        return dataclasses.replace(self, **moved, targets=targets)
