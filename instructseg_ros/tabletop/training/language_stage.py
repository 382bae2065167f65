"""Stage 4: the language model points at the objects that an instruction refers to."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.stage_outputs import Prompt, Reasoning, VisualContext
from instructseg_ros.model.tasks import IMAGE_ID, SEG_ID
from instructseg_ros.research.training.trainer import LossOutput
from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES
from instructseg_ros.tabletop.training.losses import Stage, centre_cells
from instructseg_ros.tabletop.training.scene_store import (
    ANCHORS,
    CANDIDATES,
    MAX_OBJECTS,
    TARGETS,
    SceneStore,
)
from instructseg_ros.tabletop.training.word_augmentation import (
    GROUPS,
    MAX_ADDED,
    Words,
    default_augmentation,
)

# Roles of the mask tokens, by position: later tokens can read what earlier ones found.
ANCHOR_TOKENS: Final = [1]
CANDIDATE_TOKENS: Final = [3]
TARGET_TOKENS: Final = [5, 6, 7]
_ROLES: Final = (
    (ANCHORS, ANCHOR_TOKENS, 0.5),
    (CANDIDATES, CANDIDATE_TOKENS, 0.5),
    (TARGETS, TARGET_TOKENS, 1.0),
)
_EARLY = 0.4  # weight of pointers read from earlier layers
_GROUNDED_LAYERS = (1, 2)
# Log-weights for drawing instruction categories: vocabulary first, comparisons later.
_EARLY_WEIGHTS = np.log([one.early_weight for one in INSTRUCTION_CATEGORIES.values()])
_LATE_WEIGHTS = np.log([one.late_weight for one in INSTRUCTION_CATEGORIES.values()])
_LONG_BATCHES = 0.35  # share of batches with long instructions, which cost time
_ABSENT = np.log(2.0)  # added for absent targets, which are learned last


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstructionBatch:
    """K instructions on each of B scenes with S objects.

    Args:
        prompt: The instructions as input of the model, with at most R words each.
        roles: (B, K, 3, S) float32, 1 for the objects in each role: targets, anchors, candidates.
        cells: (B, S) cell of each object's centre.
        groundings: (B, K, R, S) float32, how well each word describes each object, 0 to 1.
        groups: (B, K, R) int64, 0 for words that may be exchanged, else group + 1.
    """

    prompt: Prompt
    roles: torch.Tensor
    cells: torch.Tensor
    groundings: torch.Tensor
    groups: torch.Tensor

    def at_cells(self, values: torch.Tensor, count: int) -> torch.Tensor:
        """Copy (B, ..., S) values of objects to the (B, ..., V) cells that hold their centres."""
        shape = (len(values), *[1] * (values.dim() - 2), MAX_OBJECTS)
        index = self.cells.view(shape).expand(values.shape)
        zeros = values.new_zeros(*values.shape[:-1], count)
        return zeros.scatter_reduce(-1, index, values, 'amax')


class LanguageStage(Stage):
    """Language model and pointer, with an auxiliary head that grounds words in the image.

    Args:
        tokens: (N, V, D) cached vision tokens of the key frames; None if `image_tokens` is not
            used.
        motion: (N, V, D) cached motion features of the key frames, or None likewise.

    Attributes:
        instructions: Number of instructions per scene in one step.
    """

    def __init__(
        self,
        model: InstructSegModel,
        store: SceneStore,
        tokens: np.ndarray | None = None,
        motion: np.ndarray | None = None,
    ) -> None:
        super().__init__(store)
        if model.pointer is None:
            raise ValueError(
                'the tabletop training needs a model whose configuration has a pointer'
            )
        width = model.config.hidden_size
        self.image_token_fusion = model.image_token_fusion
        self.language_model = model.language_model
        self.seg_query = model.seg_query
        self.pointer = model.pointer
        self.words = WordHead(width)
        self._model = [model]  # in a list, which hides its other parts from the optimizer
        self._tokens = tokens
        self._motion = motion
        self.instructions = 1

    def heads(self) -> list[nn.Module]:
        """Auxiliary heads."""
        return [self.words]

    def forward(
        self, indices: np.ndarray, rng: np.random.Generator, progress: float = 1.0
    ) -> LossOutput:
        """Compute the pointer and grounding losses of random instructions."""
        batch = self.draw_instructions(indices, rng, progress=progress)
        reasoning = self.reason(self.image_tokens(indices), batch)
        return self.pointer_loss(reasoning, batch)

    def draw_instructions(
        self,
        indices: np.ndarray,
        rng: np.random.Generator,
        *,
        progress: float = 1.0,
        mirrored: bool = False,
    ) -> InstructionBatch:
        """Draw different instructions for each scene.

        Args:
            progress: Share of the training that is done: early instructions have few comparisons.
            mirrored: Phrase them for the mirror images of the scenes.
        """
        categories = self._store.categories[indices]
        absent = self._store.roles[indices][:, :, TARGETS] == 0
        weights = (_EARLY_WEIGHTS if progress < 0.2 else _LATE_WEIGHTS)[categories]
        weights = weights + _ABSENT * absent
        order = np.argsort(-(rng.gumbel(size=categories.shape) + weights), axis=1)
        numbers = order[:, : self.instructions]
        return read_instructions(
            self._store, indices, numbers, self._model[0], rng, mirrored=mirrored
        )

    def image_tokens(self, indices: np.ndarray) -> torch.Tensor:
        """Return (B, V, D) image tokens of some scenes, from the cached features."""
        assert self._tokens is not None and self._motion is not None
        tokens = torch.from_numpy(self._tokens[indices]).float()
        motion = torch.from_numpy(self._motion[indices]).float()
        return self.image_token_fusion(tokens, motion)

    def reason(self, image: torch.Tensor, batch: InstructionBatch) -> Reasoning:
        """Run the language model on (B, V, D) image tokens."""
        context = VisualContext(image_tokens=image, reference_tokens=None)
        return self._model[0].reason(context, batch.prompt, output_layers=True)

    def pointer_loss(
        self, reasoning: Reasoning, batch: InstructionBatch, *, grounding_weight: float = 1.0
    ) -> LossOutput:
        """Compute the loss of the mask tokens' pointers, and of the grounding of words.

        The pointers are read from the last layers, the words from the first ones.
        """
        logits = self.pointer.point(reasoning.mask_tokens, reasoning.cells)
        loss = _pointer_loss(logits, batch)
        pointer = loss.detach()
        norm = self.language_model.final_layernorm
        # The last entry of `layers` is the final state, which was used above.
        for cells, states in reasoning.layers[2:-1]:
            early = self.pointer.point(norm(_mask_tokens(states, batch)), norm(cells))
            loss = loss + _EARLY * _pointer_loss(early, batch)
        words = torch.zeros(())
        for index in _GROUNDED_LAYERS:
            words = words + self._grounding_loss(*reasoning.layers[index], batch)
        return LossOutput(
            loss=loss + grounding_weight * words,
            parts={'pointer': pointer, 'grounding': words.detach()},
        )

    def _grounding_loss(
        self, cells: torch.Tensor, states: torch.Tensor, batch: InstructionBatch
    ) -> torch.Tensor:
        """Compute the loss of words, which should point at the cells of objects they describe."""
        logits = self.words(states[:, :, : batch.groundings.shape[2]], cells)
        truth = batch.at_cells(batch.groundings, logits.shape[-1])
        entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction='none')
        entropy = entropy.sum(dim=-1)
        loss = torch.zeros(())
        for group in range(1, len(GROUPS) + 1):
            mine = batch.groups == group
            if mine.any():
                loss = loss + 0.3 * entropy[mine].mean()
        return loss


class WordHead(nn.Module):
    """Scores how well each word describes each image cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.tensor(-2.0))

    def forward(self, states: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Compute (B, K, R, V) logits from (B, K, R, D) states of words and (B, V, D) of cells."""
        queries = self.query(self.norm(states)).flatten(1, 2)
        keys = self.key(self.norm(cells))
        logits = queries @ keys.transpose(1, 2) * keys.shape[-1] ** -0.5
        return logits.unflatten(1, states.shape[1:3]).float() + self.bias


def read_instructions(
    store: SceneStore,
    indices: np.ndarray,
    numbers: np.ndarray,
    model: InstructSegModel,
    rng: np.random.Generator | None,
    *,
    mirrored: bool = False,
) -> InstructionBatch:
    """Read some instructions of some scenes.

    Args:
        indices: (B,) indices of the scenes.
        numbers: (B, K) numbers of each scene's instructions.
        rng: Source of the word augmentation; None: no augmentation.
        mirrored: Phrase them for the mirror images of the scenes.
    """
    rows = indices[:, None]
    words = store.words[rows, numbers].astype(np.int64)
    groups = store.groups[rows, numbers].astype(np.int64)
    groundings = store.groundings[rows, numbers]
    roles = store.roles[rows, numbers]
    if mirrored:
        words = default_augmentation().mirrored[words]
    if rng is not None:
        categories = store.categories[rows, numbers]
        words, groups, groundings, roles = _augmented(
            words, groups, groundings, roles, categories, rng
        )
    count = int((words > 0).sum(axis=-1).max())
    bits = roles[..., None] >> np.arange(MAX_OBJECTS) & 1
    side = int(model.config.image_tokens**0.5)
    objects, _ = store.key_frames(indices, mirrored=mirrored)
    return InstructionBatch(
        prompt=word_prompt(torch.from_numpy(words[..., :count]), model),
        roles=torch.from_numpy(bits.astype(np.float32)),
        cells=torch.from_numpy(centre_cells(objects, side)),
        groundings=torch.from_numpy(groundings[..., :count, :] / np.float32(255)),
        groups=torch.from_numpy(groups[..., :count]),
    )


def _augmented(
    words: np.ndarray,
    groups: np.ndarray,
    groundings: np.ndarray,
    roles: np.ndarray,
    categories: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Augment the words of (B, K, ...) instructions, one by one."""
    room = [(0, 0), (0, 0), (0, MAX_ADDED)]
    words, groups = np.pad(words, room), np.pad(groups, room)
    groundings, roles = np.pad(groundings, [*room, (0, 0)]), roles.copy()
    long = bool(rng.random() < _LONG_BATCHES)
    for place in np.ndindex(categories.shape):
        count = int((words[place] > 0).sum())
        one = Words(
            ids=words[place][:count].copy(),
            groups=groups[place][:count].copy(),
            groundings=groundings[place][:count].copy(),
        )
        roles[place] = default_augmentation().augment(
            one, roles[place], int(categories[place]), rng, long=long
        )
        for array, values in ((words, one.ids), (groups, one.groups), (groundings, one.groundings)):
            array[place] = 0
            array[place][: len(values)] = values
    return words, groups, groundings, roles


def word_prompt(words: torch.Tensor, model: InstructSegModel) -> Prompt:
    """Build compact prompts from (B, K, R) words (0: padding), each with the mask tokens behind."""
    count, queries = model.config.image_tokens, model.config.num_queries
    shape = (*words.shape[:2], -1)
    image = torch.full((count,), IMAGE_ID).expand(*shape)
    rest = torch.cat([words, words.new_zeros(*words.shape[:2], queries)], dim=-1)
    length = (words > 0).sum(dim=-1, keepdim=True)
    place = torch.arange(rest.shape[-1]) - length
    rest = rest.masked_fill((place >= 0) & (place < queries), SEG_ID)
    refer = torch.cat([torch.zeros_like(image, dtype=torch.bool), place < 0], dim=-1)
    return Prompt(
        input_ids=torch.cat([image, rest], dim=-1),
        refer_mask=refer,
        prefix_length=count,
        read_from=count,
        refer_stop=count + words.shape[-1],
    )


def _mask_tokens(states: torch.Tensor, batch: InstructionBatch) -> torch.Tensor:
    places = batch.prompt.input_ids[:, :, batch.prompt.prefix_length :] == SEG_ID
    return states[places].view(*states.shape[:2], -1, states.shape[-1])


def _pointer_loss(logits: torch.Tensor, batch: InstructionBatch) -> torch.Tensor:
    loss = torch.zeros(())
    for role, tokens, weight in _ROLES:
        truth = batch.at_cells(batch.roles[:, :, role], logits.shape[-1])[:, :, None]
        mine = logits[:, :, tokens]
        entropy = functional.binary_cross_entropy_with_logits(
            mine, truth.expand_as(mine), reduction='none'
        )
        loss = loss + weight * entropy.sum(dim=-1).mean()
    return loss
