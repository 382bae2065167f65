"""Stage 4: the language model learns to point at what an instruction means."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.states import Prompt, Reasoning, VisualContext
from instructseg_ros.model.tasks import IMAGE_ID, SEG_ID
from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES
from instructseg_ros.tabletop.training.scene_store import (
    ANCHORS,
    CANDIDATES,
    EXISTS,
    MAX_THINGS,
    TARGETS,
    SceneStore,
)
from instructseg_ros.tabletop.training.targets import cell_of
from instructseg_ros.tabletop.training.word_augmentation import GROUPS, MOST_MORE, Words, word_noise

# What each mask token is trained to mean: later ones can read what earlier ones found.
ANCHOR_TOKENS: Final = [1]
CANDIDATE_TOKENS: Final = [3]
TARGET_TOKENS: Final = [5, 6, 7]
_ROLES: Final = (
    (ANCHORS, ANCHOR_TOKENS, 0.5),
    (CANDIDATES, CANDIDATE_TOKENS, 0.5),
    (TARGETS, TARGET_TOKENS, 1.0),
)
_DEEP = 0.4  # weight of pointers read from earlier layers
_GROUNDED_LAYERS = (1, 2)
# Drawing weights of the instruction categories: vocabulary first, comparisons later.
_EARLY_WEIGHTS = np.log([one.early_weight for one in INSTRUCTION_CATEGORIES.values()])
_LATE_WEIGHTS = np.log([one.late_weight for one in INSTRUCTION_CATEGORIES.values()])
_ABSENT = np.log(1.5)  # added for what is not there: the answer that is learned last


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lesson:
    """K instructions on each of B scenes.

    Args:
        prompt: the instructions.
        roles: (B, K, 3, S) float32, the things that are targets, anchors and candidates.
        cells: (B, S) cell of each thing's centre.
        pointed: (B, K, R, S) float32 how true each word is of each thing.
        groups: (B, K, R) int64, 0 where a word points at nothing.
        exists: (B, S) float32.
    """

    prompt: Prompt
    roles: torch.Tensor
    cells: torch.Tensor
    pointed: torch.Tensor
    groups: torch.Tensor
    exists: torch.Tensor

    def at_cells(self, values: torch.Tensor, count: int) -> torch.Tensor:
        """(B, ..., S) values of things -> (B, ..., V) at the cells of their centres."""
        shape = (len(values), *[1] * (values.dim() - 2), MAX_THINGS)
        index = self.cells.view(shape).expand(values.shape)
        zeros = values.new_zeros(*values.shape[:-1], count)
        return zeros.scatter_reduce(-1, index, values, 'amax')


class LanguageStage(nn.Module):
    """Language model and pointer, with heads that ground its words.

    Args:
        tokens, motion: (N, V, D) of the scenes' key frames, cached; None where `image_tokens`
            is not asked for.

    Attributes:
        instructions: of each scene in one step.
    """

    def __init__(
        self,
        model: InstructSegModel,
        store: SceneStore,
        tokens: np.ndarray | None = None,
        motion: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        if model.pointer is None:
            raise ValueError('the tabletop is taught to models whose configuration has a pointer')
        width = model.config.hidden_size
        self.image_token_fusion = model.image_token_fusion
        self.language_model = model.language_model
        self.seg_query = model.seg_query
        self.pointer = model.pointer
        self.words = WordHead(width)
        self._model = [model]  # in a list: its other parts are not this stage's to train
        self._store = store
        self._tokens = tokens
        self._motion = motion
        self.instructions = 1

    def heads(self) -> list[nn.Module]:
        """The parts that teach and are dropped after training."""
        return [self.words]

    def loss(
        self, indices: np.ndarray, rng: np.random.Generator, *, progress: float
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Pointer and grounding losses on some scenes."""
        lesson = self.lesson(indices, rng, progress=progress)
        reasoning = self.reason(self.image_tokens(indices), lesson)
        return self.pointing_loss(reasoning, lesson)

    def lesson(
        self,
        indices: np.ndarray,
        rng: np.random.Generator,
        *,
        progress: float,
        mirrored: bool = False,
    ) -> Lesson:
        """Draw instructions of the scenes; `progress` (0 to 1) moves from words to comparisons."""
        kinds = self._store.kinds[indices]
        absent = self._store.roles[indices][:, :, TARGETS] == 0
        weights = (_EARLY_WEIGHTS if progress < 0.2 else _LATE_WEIGHTS)[kinds] + _ABSENT * absent
        order = np.argsort(-(rng.gumbel(size=kinds.shape) + weights), axis=1)
        numbers = order[:, : self.instructions]
        return read_lesson(self._store, indices, numbers, self._model[0], rng, mirrored=mirrored)

    def image_tokens(self, indices: np.ndarray) -> torch.Tensor:
        """(B, V, D) image tokens of some scenes, from what the frozen encoders said of them."""
        assert self._tokens is not None and self._motion is not None
        tokens = torch.from_numpy(self._tokens[indices]).float()
        motion = torch.from_numpy(self._motion[indices]).float()
        return self.image_token_fusion(tokens, motion)

    def reason(self, image: torch.Tensor, lesson: Lesson) -> Reasoning:
        """The language model's states on (B, V, D) image tokens."""
        context = VisualContext(image_tokens=image, reference_tokens=None)
        return self._model[0].reason(context, lesson.prompt, output_layers=True)

    def pointing_loss(
        self, reasoning: Reasoning, lesson: Lesson, *, grounding: float = 1.0
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Pointers of the mask tokens at the last layers, words of the first ones.

        Args:
            grounding: weight of the words.
        """
        logits = self.pointer.point(reasoning.mask_tokens, reasoning.cells)
        loss = _pointer_loss(logits, lesson)
        figures = {'point': loss.item()}
        norm = self.language_model.final_layernorm
        # The last entry of `layers` is the final state, which was used above.
        for cells, states in reasoning.layers[2:-1]:
            early = self.pointer.point(norm(_mask_tokens(states, lesson)), norm(cells))
            loss = loss + _DEEP * _pointer_loss(early, lesson)
        words = torch.zeros(())
        for index in _GROUNDED_LAYERS:
            words = words + self._grounding_loss(*reasoning.layers[index], lesson)
        figures['words'] = words.item()
        return loss + grounding * words, figures

    def _grounding_loss(
        self, cells: torch.Tensor, states: torch.Tensor, lesson: Lesson
    ) -> torch.Tensor:
        """Words point at the cells of the things that they are true of."""
        logits = self.words(states[:, :, : lesson.pointed.shape[2]], cells)
        truth = lesson.at_cells(lesson.pointed, logits.shape[-1])
        entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction='none')
        entropy = entropy.sum(dim=-1)
        loss = torch.zeros(())
        for group in range(1, len(GROUPS) + 1):
            mine = lesson.groups == group
            if mine.any():
                loss = loss + 0.3 * entropy[mine].mean()
        return loss


class WordHead(nn.Module):
    """Words point at image cells: a pointer that teaches and is dropped after training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.tensor(-2.0))

    def forward(self, states: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """(B, K, R, width) states of words, (B, V, width) of cells -> (B, K, R, V) logits."""
        queries = self.query(self.norm(states)).flatten(1, 2)
        keys = self.key(self.norm(cells))
        logits = queries @ keys.transpose(1, 2) * keys.shape[-1] ** -0.5
        return logits.unflatten(1, states.shape[1:3]).float() + self.bias


def read_lesson(
    store: SceneStore,
    indices: np.ndarray,
    numbers: np.ndarray,
    model: InstructSegModel,
    rng: np.random.Generator | None,
    *,
    mirrored: bool = False,
) -> Lesson:
    """Read chosen instructions (B, K) of the scenes; with a generator their words are disturbed.

    `mirrored`: as they would be said of the scenes' mirror images.
    """
    rows = indices[:, None]
    words = store.words[rows, numbers].astype(np.int64)
    groups = store.groups[rows, numbers].astype(np.int64)
    pointed = store.pointed[rows, numbers]
    roles = store.roles[rows, numbers]
    if mirrored:
        words = word_noise().mirrored[words]
    if rng is not None:
        kinds = store.kinds[rows, numbers]
        words, groups, pointed, roles = _disturbed(words, groups, pointed, roles, kinds, rng)
    count = int((words > 0).sum(axis=-1).max())
    bits = roles[..., None] >> np.arange(MAX_THINGS) & 1
    side = int(model.config.image_tokens**0.5)
    things, _ = store.key_frames(indices, mirrored=mirrored)
    return Lesson(
        prompt=word_prompt(torch.from_numpy(words[..., :count]), model),
        roles=torch.from_numpy(bits.astype(np.float32)),
        cells=torch.from_numpy(cell_of(things, side)),
        pointed=torch.from_numpy(pointed[..., :count, :] / np.float32(255)),
        groups=torch.from_numpy(groups[..., :count]),
        exists=torch.from_numpy(things[..., EXISTS]),
    )


def _disturbed(
    words: np.ndarray,
    groups: np.ndarray,
    pointed: np.ndarray,
    roles: np.ndarray,
    kinds: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The instructions (B, K, ...) with their words disturbed, one by one."""
    room = [(0, 0), (0, 0), (0, MOST_MORE)]
    words, groups = np.pad(words, room), np.pad(groups, room)
    pointed, roles = np.pad(pointed, [*room, (0, 0)]), roles.copy()
    for place in np.ndindex(kinds.shape):
        count = int((words[place] > 0).sum())
        said = Words(
            ids=words[place][:count].copy(),
            groups=groups[place][:count].copy(),
            pointed=pointed[place][:count].copy(),
        )
        roles[place] = word_noise().disturb(said, roles[place], int(kinds[place]), rng)
        for array, values in ((words, said.ids), (groups, said.groups), (pointed, said.pointed)):
            array[place] = 0
            array[place][: len(values)] = values
    return words, groups, pointed, roles


def word_prompt(words: torch.Tensor, model: InstructSegModel) -> Prompt:
    """(B, K, R) words, 0 = padding -> a compact prompt whose mask tokens follow its last word."""
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


def _mask_tokens(states: torch.Tensor, lesson: Lesson) -> torch.Tensor:
    places = lesson.prompt.input_ids[:, :, lesson.prompt.prefix_length :] == SEG_ID
    return states[places].view(*states.shape[:2], -1, states.shape[-1])


def _pointer_loss(logits: torch.Tensor, lesson: Lesson) -> torch.Tensor:
    loss = torch.zeros(())
    for role, tokens, weight in _ROLES:
        truth = lesson.at_cells(lesson.roles[:, :, role], logits.shape[-1])[:, :, None]
        mine = logits[:, :, tokens]
        entropy = functional.binary_cross_entropy_with_logits(
            mine, truth.expand_as(mine), reduction='none'
        )
        loss = loss + weight * entropy.sum(dim=-1).mean()
    return loss
