"""Stages 5 and 6: train from instruction to mask, first on cached features, then end to end."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.pixel_branch import PixelFeatures
from instructseg_ros.research.training.trainer import FrozenStatistics, LossOutput
from instructseg_ros.tabletop.training.encoder_stages import TowerStage
from instructseg_ros.tabletop.training.images import flipped, mask_batch, vision_batch
from instructseg_ros.tabletop.training.language_stage import (
    ANCHOR_TOKENS,
    CANDIDATE_TOKENS,
    TARGET_TOKENS,
    InstructionBatch,
    LanguageStage,
)
from instructseg_ros.tabletop.training.losses import Stage, mask_loss, object_masks
from instructseg_ros.tabletop.training.pixel_stage import FeatureStore, keep_full_precision
from instructseg_ros.tabletop.training.scene_store import ANCHORS, CANDIDATES, TARGETS, SceneStore

_ROLES: Final = [ANCHORS, CANDIDATES, TARGETS]
_ROLE_WEIGHTS: Final = torch.tensor([0.3, 0.3, 1.0])
_OTHER_TOKENS = 0.2  # weight of the scores of tokens that do not stand for the target


class JointStage(Stage):
    """Stage that trains everything after the encoders.

    Attributes:
        grounding_weight: Weight of the loss that grounds words.
        score_weight: Weight of the loss of the scores, which tell whether the target is present.
    """

    grounding_weight = 1.0
    score_weight = 2.0

    def __init__(
        self,
        model: InstructSegModel,
        language: LanguageStage,
        store: SceneStore,
        *,
        features: FeatureStore | None = None,
        scenes: int | None = None,
    ) -> None:
        """Collect the parts of the model.

        Args:
            features: Cached features of the first `scenes` scenes; None if only `answer_loss`
                is used.
        """
        super().__init__(store, scenes=scenes)
        self.language = language
        self.seg_query_projector = model.seg_query_projector
        self.text_fusion = model.text_fusion
        self.mask_decoder = model.mask_decoder
        self._model = [model]  # in a list, which hides its other parts from the optimizer
        self._features = features

    def forward(
        self, indices: np.ndarray, rng: np.random.Generator, progress: float = 1.0
    ) -> LossOutput:
        """Compute the loss of answers on the cached features of some scenes."""
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
    ) -> LossOutput:
        """Compute the pointer, mask and score losses of the answers to random instructions.

        Args:
            image: (B, V, D) image tokens of the scenes.
            features: Pixel features of their key frames.
            indices: (B,) indices of the scenes.
            mirrored: Whether `image` and `features` belong to mirror images.
        """
        batch = self.language.draw_instructions(indices, rng, mirrored=mirrored)
        reasoning = self.language.reason(image, batch)
        output = self._model[0].decode(reasoning, features)
        pointer = self.language.pointer_loss(
            reasoning, batch, grounding_weight=self.grounding_weight
        )
        queries = [*ANCHOR_TOKENS, *CANDIDATE_TOKENS, int(rng.choice(TARGET_TOKENS))]
        _, labels = self._store.key_frames(indices, mirrored=mirrored)
        truth = object_masks(labels, output.final.mask_logits.shape[-2:])
        members = batch.roles[:, :, _ROLES]
        masks, dice = mask_loss(output.predictions, truth, members, _ROLE_WEIGHTS, queries)
        scores, accuracy = _score_loss(output.final.score_logits.float(), batch)
        return LossOutput(
            loss=pointer.loss + masks + self.score_weight * scores,
            parts={**pointer.parts, 'dice': dice, 'present': accuracy},
        )


def _score_loss(logits: torch.Tensor, batch: InstructionBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute loss and accuracy of scores: only target tokens of present targets should be high."""
    present = (batch.roles[:, :, TARGETS].sum(dim=-1) > 0).float()
    truth = torch.zeros_like(logits)
    truth[:, :, TARGET_TOKENS] = present[..., None]
    weights = torch.full_like(logits, _OTHER_TOKENS)
    weights[:, :, TARGET_TOKENS] = 1
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction='none')
    found = logits[:, :, TARGET_TOKENS].mean(dim=-1) > 0
    return (entropy * weights).mean(), (found == (present > 0)).float().mean()


class FinetuneStage(FrozenStatistics, JointStage):
    """Stage that trains the whole model, with the auxiliary heads of its tower and language model.

    Words are grounded by now, so their loss weighs less and the scores weigh more.
    """

    grounding_weight = 0.3
    score_weight = 5.0

    def __init__(
        self, model: InstructSegModel, language: LanguageStage, tower: TowerStage, store: SceneStore
    ) -> None:
        super().__init__(model, language, store)
        self.tower = tower
        self.perceiver = model.perceiver
        self.pixel_branch = model.pixel_branch
        keep_full_precision(model.pixel_branch.decoder.encoder)

    def heads(self) -> list[nn.Module]:
        """Auxiliary heads."""
        return [*self.language.heads(), *self.tower.heads()]

    def forward(
        self, indices: np.ndarray, rng: np.random.Generator, progress: float = 1.0
    ) -> LossOutput:
        """Compute the loss of answers on half of the scenes, and the tower's own loss on all.

        Answers alone would let the tower forget what it learned in its own stage.
        """
        other_half = self.tower(indices[1::2], rng)
        indices = indices[::2]
        mirrored = bool(rng.integers(2))
        tokens, references = self._encode(indices, rng, mirrored=mirrored)
        image = self.language.image_token_fusion(tokens, self.perceiver(tokens, references))
        frames = flipped(self._store.image[indices], mirrored=mirrored)
        features = self.pixel_branch(mask_batch(frames, rng))
        answers = self.answer_loss(image, features, indices, rng, mirrored=mirrored)
        cells = self.tower.cell_loss(tokens, *self._store.key_frames(indices, mirrored=mirrored))
        return LossOutput(
            loss=answers.loss + (cells.loss + other_half.loss),
            parts={**answers.parts, **cells.parts},
        )

    def _encode(
        self, indices: np.ndarray, rng: np.random.Generator, *, mirrored: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B, V, D) tokens of the key frames, and (B, T, V, D) of the reference frames.

        Only key frames train the tower, which costs a third of training it on all three frames.
        """
        frames = flipped(self._store.vision[indices], mirrored=mirrored)
        images = vision_batch(frames, rng)
        # Key frames first: autocast would otherwise cache weights that it converted under no_grad.
        tokens = self.tower.encode(images[:, -1])
        with torch.no_grad():
            references = self.tower.encode(images[:, :-1].flatten(0, 1))
        return tokens, references.unflatten(0, (len(indices), -1))
