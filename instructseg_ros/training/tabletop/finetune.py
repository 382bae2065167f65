"""Stage 6: the pixel branch learns with everything after it, on pictures instead of a cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.pixels import PixelFeatures
from instructseg_ros.training.tabletop.joint import JointStage
from instructseg_ros.training.tabletop.language import LanguageStage
from instructseg_ros.training.tabletop.pictures import mask_batch
from instructseg_ros.training.tabletop.pixels import in_full_precision
from instructseg_ros.training.tabletop.scenes import SceneStore


class FinetuneStage(JointStage):
    """Everything but the vision tower and the motion perceiver."""

    def __init__(
        self, model: InstructSegModel, language: LanguageStage, store: SceneStore
    ) -> None:
        super().__init__(model, language, None, store)
        self.pixel_branch = model.pixel_branch
        in_full_precision(model.pixel_branch.decoder.encoder)

    def train(self, mode: bool = True) -> FinetuneStage:
        """Training mode, in which batch statistics stay: these batches are too small for them."""
        super().train(mode)
        for module in self.pixel_branch.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def pixel_features(self, indices: np.ndarray, rng: np.random.Generator) -> PixelFeatures:
        """The pixel branch's features of the key frames, with gradients."""
        pictures = mask_batch(self._store.image[indices], rng)
        return self.pixel_branch(pictures.contiguous(memory_format=torch.channels_last))
