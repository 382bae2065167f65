"""Stage 6: the whole model learns together, on pictures instead of caches."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.training.tabletop.joint import JointStage
from instructseg_ros.training.tabletop.language import LanguageStage
from instructseg_ros.training.tabletop.pictures import as_seen, mask_batch, vision_batch
from instructseg_ros.training.tabletop.pixels import in_full_precision
from instructseg_ros.training.tabletop.scenes import SceneStore
from instructseg_ros.training.tabletop.tower import TowerStage

_CELLS = 1.0  # weight of the tower's own lesson, which instructions alone would let it forget


class FinetuneStage(JointStage):
    """Every part of the model, and the tower's heads.

    Words are grounded by now: what counts is what the answers say.
    """

    grounding = 0.3
    scoring = 5.0

    def __init__(
        self,
        model: InstructSegModel,
        language: LanguageStage,
        tower: TowerStage,
        store: SceneStore,
    ) -> None:
        super().__init__(model, language, None, store)
        self.tower = tower
        self.perceiver = model.perceiver
        self.pixel_branch = model.pixel_branch
        in_full_precision(model.pixel_branch.decoder.encoder)

    def train(self, mode: bool = True) -> FinetuneStage:
        """Training mode, in which batch statistics stay: these batches are too small for them."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def heads(self) -> list[nn.Module]:
        """The parts that teach and are dropped after training."""
        return [*self.language.heads(), *self.tower.heads()]

    def loss(
        self, indices: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Losses of answers on half of the scenes, and of the tower on all of them."""
        further, _ = self.tower.loss(indices[1::2], rng)
        indices = indices[::2]
        mirrored = bool(rng.integers(2))
        tokens, references = self._encode(indices, rng, mirrored=mirrored)
        image = self.language.image_token_fusion(tokens, self.perceiver(tokens, references))
        pictures = mask_batch(as_seen(self._store.image[indices], mirrored=mirrored), rng)
        features = self.pixel_branch(pictures.contiguous(memory_format=torch.channels_last))
        answers, figures = self.answer_loss(image, features, indices, rng, mirrored=mirrored)
        key_frames = self._store.key_frames(indices, mirrored=mirrored)
        cells, seen = self.tower.cell_loss(tokens, *key_frames)
        return answers + _CELLS * (cells + further), figures | seen

    def _encode(
        self, indices: np.ndarray, rng: np.random.Generator, *, mirrored: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, V, D) tokens of the key frames, and (B, T, V, D) of the frames before, as they are.

        The tower learns from key frames only: they show what the others do, at a third of the cost.
        """
        pictures = vision_batch(as_seen(self._store.vision[indices], mirrored=mirrored), rng)
        # First: autocast keeps the weights it converts, and without gradients if that comes first.
        tokens = self.tower.encode(pictures[:, -1])
        with torch.no_grad():
            references = self.tower.encode(pictures[:, :-1].flatten(0, 1))
        return tokens, references.unflatten(0, (len(indices), -1))
