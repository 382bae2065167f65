"""Stages 5 and 6: instructions to masks, first on cached features, then end to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.pixel_branch import PixelFeatures
from instructseg_ros.tabletop.training import loop as parallel
from instructseg_ros.tabletop.training.encoders import TowerStage
from instructseg_ros.tabletop.training.images import as_seen, mask_batch, vision_batch
from instructseg_ros.tabletop.training.language import (
    ANCHOR_TOKENS,
    CANDIDATE_TOKENS,
    TARGET_TOKENS,
    LanguageStage,
    Lesson,
)
from instructseg_ros.tabletop.training.pixels import in_full_precision
from instructseg_ros.tabletop.training.scene_store import (
    ANCHORS,
    CANDIDATES,
    FRAMES,
    TARGETS,
    SceneStore,
)
from instructseg_ros.tabletop.training.targets import mask_loss, thing_masks

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
        self,
        model: InstructSegModel,
        language: LanguageStage,
        features: FeatureStore | None,
        store: SceneStore,
    ) -> None:
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


_CELLS = 1.0  # weight of the tower's own lesson, which instructions alone would let it forget


class FinetuneStage(JointStage):
    """Every part of the model, and the tower's heads.

    Words are grounded by now: what counts is what the answers say.
    """

    grounding = 0.3
    scoring = 5.0

    def __init__(
        self, model: InstructSegModel, language: LanguageStage, tower: TowerStage, store: SceneStore
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


_BATCH = 16


def cache_tokens(model: InstructSegModel, store: SceneStore) -> np.ndarray:
    """Vision tokens of every frame: (N, 3, V, D) float16."""
    config = model.config
    tokens = store.feature('tokens', (FRAMES, config.image_tokens, config.hidden_size))

    def encode(indices: np.ndarray) -> None:
        pictures = vision_batch(store.vision[indices].reshape(-1, *store.vision.shape[2:]), None)
        out = model.encode_frame(pictures.contiguous(memory_format=torch.channels_last))
        tokens[indices] = out.float().numpy().reshape(len(indices), *tokens.shape[1:])

    _over_scenes('tokens', store, model, encode)
    return tokens


def cache_motion(model: InstructSegModel, store: SceneStore, tokens: np.ndarray) -> np.ndarray:
    """Motion at every cell of the key frame: (N, V, D) float16."""
    motion = store.feature('motion', tokens.shape[2:])

    def encode(indices: np.ndarray) -> None:
        frames = torch.from_numpy(tokens[indices]).float()
        motion[indices] = model.perceiver(frames[:, -1], frames[:, :-1]).float().numpy()

    _over_scenes('motion', store, model, encode)
    return motion


def cache_pixels(model: InstructSegModel, store: SceneStore, scenes: int) -> FeatureStore:
    """Features of the pixel branch of the key frames of the first `scenes` scenes."""
    features = FeatureStore(store, model)

    def encode(indices: np.ndarray) -> None:
        pictures = mask_batch(store.image[indices], None)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        features.write(indices, model.encode_pixels(pictures))

    _over_scenes('pixels', store, model, encode, scenes)
    return features


def _over_scenes(
    name: str,
    store: SceneStore,
    model: InstructSegModel,
    encode: Callable[[np.ndarray], None],
    scenes: int | None = None,
) -> None:
    """Encode the scenes, once; a marker file says that it is done."""
    marker = store.folder / f'{name}.done'
    parallel.wait()  # for every process to have opened the arrays
    if marker.exists():
        return
    model.eval()
    count = scenes or store.shape.scenes
    starts = parallel.share(np.arange(0, count, _BATCH))
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16):
        for start in tqdm(starts, f'cache {name}', disable=parallel.rank() > 0):
            encode(np.arange(start, min(start + _BATCH, count)))
    parallel.wait()
    marker.touch()
