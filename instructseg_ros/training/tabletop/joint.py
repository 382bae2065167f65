"""Stage 5: instructions to masks, on cached features of the frozen encoders."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.pixels import PixelFeatures
from instructseg_ros.training.tabletop.language import (
    ANCHOR_TOKENS,
    CANDIDATE_TOKENS,
    TARGET_TOKENS,
    LanguageStage,
    Lesson,
)
from instructseg_ros.training.tabletop.masks import mask_loss, thing_masks
from instructseg_ros.training.tabletop.scenes import ANCHORS, CANDIDATES, TARGETS, SceneStore

_ROLES: Final = [ANCHORS, CANDIDATES, TARGETS]
_ROLE_WEIGHTS: Final = torch.tensor([0.3, 0.3, 1.0])
_OTHER_TOKENS = 0.2  # weight of the scores of tokens that are not trained to mean the target


class FeatureStore:
    """Cached features of the pixel branch, read back as `PixelFeatures`."""

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
        """Keep the features of some scenes."""
        self._coarse[indices] = features.coarse.float().numpy()
        for array, level in zip(self._levels, features.levels, strict=True):
            array[indices] = level.float().numpy()
        self._masks[indices] = features.mask_features.float().numpy()

    def read(self, indices: np.ndarray) -> PixelFeatures:
        """The features of some scenes."""
        return PixelFeatures(
            coarse=torch.from_numpy(self._coarse[indices]).float(),
            levels=tuple(torch.from_numpy(level[indices]).float() for level in self._levels),
            mask_features=torch.from_numpy(self._masks[indices]).float(),
        )


class JointStage(nn.Module):
    """Everything after the encoders.

    Attributes:
        grounding, scoring: weights of the words that point and of "it is there".
    """

    grounding = 1.0
    scoring = 2.0

    def __init__(
        self, model: InstructSegModel, language: LanguageStage, features: FeatureStore | None,
        store: SceneStore,
    ) -> None:  # fmt: skip
        super().__init__()
        self.language = language
        self.seg_query_projector = model.seg_query_projector
        self.text_fusion = model.text_fusion
        self.mask_decoder = model.mask_decoder
        self._model = [model]
        self._features = features
        self._store = store

    def loss(
        self, indices: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Pointing, mask and score losses on some scenes, seen by the frozen encoders."""
        assert self._features is not None
        image = self.language.image_tokens(indices)
        return self.answer_loss(image, self._features.read(indices), indices, rng)

    def answer_loss(
        self,
        image: torch.Tensor,
        features: PixelFeatures,
        indices: np.ndarray,
        rng: np.random.Generator,
        *,
        mirrored: bool = False,
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Pointing, mask and score losses of the answers to instructions that are drawn.

        Args:
            image: (B, V, D) image tokens of the scenes `indices`.
            features: of their key frames.
            mirrored: `image` and `features` are of mirror images.
        """
        lesson = self.language.lesson(indices, rng, progress=1.0, mirrored=mirrored)
        reasoning = self.language.reason(image, lesson)
        output = self._model[0].decode(reasoning, features)
        pointing, figures = self.language.pointing_loss(reasoning, lesson, grounding=self.grounding)
        queries = [*ANCHOR_TOKENS, *CANDIDATE_TOKENS, int(rng.choice(TARGET_TOKENS))]
        _, labels = self._store.key_frames(indices, mirrored=mirrored)
        truth = thing_masks(labels, output.final.mask_logits.shape[-2:])
        members = lesson.roles[:, :, _ROLES]
        masks, dice = mask_loss(output.predictions, truth, members, _ROLE_WEIGHTS, queries)
        scores, right = _score_loss(output.final.score_logits.float(), lesson)
        figures |= {'dice': dice, 'present': right}
        return pointing + masks + self.scoring * scores, figures


def _score_loss(logits: torch.Tensor, lesson: Lesson) -> tuple[torch.Tensor, float]:
    """Target tokens say whether the target is there; the others stay silent."""
    present = (lesson.roles[:, :, TARGETS].sum(dim=-1) > 0).float()
    truth = torch.zeros_like(logits)
    truth[:, :, TARGET_TOKENS] = present[..., None]
    weights = torch.full_like(logits, _OTHER_TOKENS)
    weights[:, :, TARGET_TOKENS] = 1
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction='none')
    said = logits[:, :, TARGET_TOKENS].mean(dim=-1) > 0
    return (entropy * weights).mean(), (said == (present > 0)).float().mean().item()
