"""What is kept of frames and instructions, so that nothing is computed twice (spec 9.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image

from instructseg_ros.model.batches import alike, in_batches
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.pixel_branch import PixelFeatures
from instructseg_ros.model.states import Lead, Prompt
from instructseg_ros.model.tasks import TEMPORAL_ID, Task

Picture: TypeAlias = np.ndarray | Image.Image
# The prompt of each of F frames' K expressions, and of a number of reference frames.
PromptOf = Callable[[Sequence[Sequence['Expression']], int], Prompt]
# An expression with its reference frames, and some with the frames that were not read for them.
Pair = tuple['Expression', tuple['FrameTokens', ...]]
Gap = tuple[Sequence['Expression'], Sequence['FrameTokens']]
_TEXT_LEADS: Final = 8  # kinds of prompts; a model has four


@dataclasses.dataclass(kw_only=True, eq=False)
class Expression:
    """An instruction as the model reads it; what is kept for it goes when it goes.

    Args:
        text: the instruction, worded for its prompt.
        task: REFERRING or REASONING.
        known: it has a part that the tokenizer has tokens for.
        unknown: the parts that it has none for.
        lead: what its prompt's start and some reference frames left in the language model.
    """

    text: str
    task: Task
    known: bool
    unknown: tuple[str, ...]
    lead: ReferenceLead | None = None


@dataclasses.dataclass(kw_only=True, eq=False)
class FrameTokens:
    """What the model keeps of a frame as long as the frame is kept.

    Args:
        vision: (V, D) vision tokens.
        perceived: (num_latents, D) reference tokens for each live expression.
    """

    vision: torch.Tensor = dataclasses.field(repr=False)
    perceived: WeakKeyDictionary[Expression, torch.Tensor] = dataclasses.field(
        default_factory=WeakKeyDictionary, repr=False
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceLead:
    """A lead and the reference frames that it was read from."""

    frames: tuple[FrameTokens, ...]
    lead: Lead


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Understanding:
    """What the language model makes of an expression on a frame, see `Reasoning`.

    Args:
        expression: what was read.
        mask_tokens: (Q, D).
        pooled: (D,).
        cells: (V, D) of the frame, the same tensor for all its expressions; None without a
            pointer.
    """

    expression: Expression
    mask_tokens: torch.Tensor = dataclasses.field(repr=False)
    pooled: torch.Tensor = dataclasses.field(repr=False)
    cells: torch.Tensor | None = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FramePixels:
    """What the mask branch makes of F frames, and the frames.

    Args:
        features: of all frames, in one batch.
        images: (H, W, 3) uint8 RGB or of PIL, of each frame.
        canvas: (height, width) that the mask branch saw of each.
    """

    features: PixelFeatures
    images: tuple[Picture, ...] = dataclasses.field(repr=False)
    canvas: tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """Expressions to be read on a frame.

    Args:
        expressions: what is read.
        tokens: of the frame.
        references: earlier frames, oldest first; none for a still image.
    """

    expressions: Sequence[Expression]
    tokens: FrameTokens
    references: tuple[FrameTokens, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of expressions and of references; readings of one shape make a batch."""
        return len(self.expressions), len(self.references)

    @property
    def shown(self) -> tuple[FrameTokens, ...]:
        """The references; a still image is its own (spec 1.5)."""
        return self.references or (self.tokens,)


class ReferenceReader:
    """Reads reference frames for expressions: each pair once, each start of a prompt once.

    Readings come in batches of one shape.
    """

    def __init__(self, model: InstructSegModel, prompt_of: PromptOf) -> None:
        self._model = model
        self._prompt_of = prompt_of
        self._text_leads: dict[tuple[int, ...], Lead] = {}

    def clear(self) -> None:
        """Let go of what is kept here; frames and expressions keep theirs."""
        self._text_leads.clear()

    def tokens(self, readings: Sequence[Reading]) -> torch.Tensor:
        """(F, K, T * num_latents, D) tokens of T references for K expressions on F frames."""
        self._perceive_missing(readings)
        pairs = [(each, reading.shown) for reading in readings for each in reading.expressions]
        return _perceived(pairs).unflatten(0, (len(readings), -1))

    def text_lead(self, prompt: Prompt) -> Lead | None:
        """What the text leaves that every prompt of a kind begins with."""
        if not prompt.text:
            return None
        if prompt.text not in self._text_leads:
            if len(self._text_leads) >= _TEXT_LEADS:
                self._text_leads.clear()
            self._text_leads[prompt.text] = self._model.read_text(prompt)
        return self._text_leads[prompt.text]

    def end_a_lead(self, prompt: Prompt, references: int) -> bool:
        """Whether all reference tokens come in the prompts' start, as in the released ones."""
        places = references * self._model.config.num_latents
        return 0 < places == prompt.lead.count(TEMPORAL_ID) and not prompt.prefix_length

    def lead(self, readings: Sequence[Reading], prompt: Prompt) -> Lead:
        """What the prompts of F * K expressions leave up to the end of the reference tokens."""
        pairs = [(each, reading.references) for reading in readings for each in reading.expressions]
        leads = {place: _kept_lead(*pair) for place, pair in enumerate(pairs)}
        new = [place for place, lead in leads.items() if lead is None]
        if new:
            self._perceive_missing(readings)
            leads.update(zip(new, self._read_leads([pairs[place] for place in new]), strict=True))
        rows = [lead for lead in leads.values() if lead is not None]
        assert all(lead.ids == prompt.lead for lead in rows)
        return Lead.join(rows) if len(rows) > 1 else rows[0]

    def _read_leads(self, pairs: Sequence[Pair]) -> list[Lead]:
        """Read all of N pairs together, whatever their frames are."""
        for expression, _ in pairs:
            expression.lead = None  # before the next one takes as much memory
        prompt = self._prompt_of([[expression] for expression, _ in pairs], len(pairs[0][1]))
        together = self._model.read_lead(prompt, _perceived(pairs)[:, None])
        leads = [together.row(row) for row in range(len(pairs))]
        for (expression, frames), lead in zip(pairs, leads, strict=True):
            expression.lead = ReferenceLead(frames=frames, lead=lead)
        return leads

    def _perceive_missing(self, readings: Sequence[Reading]) -> None:
        """Read frames that lack expressions; those that lack as many in one batch."""
        references = len(readings[0].shown)
        gaps = [gap for reading in readings for gap in _gaps(reading)]
        shapes = [(len(missing), len(frames)) for missing, frames in gaps]
        tokens = in_batches(gaps, shapes, lambda batch: self._perceive(batch, references))
        for (missing, frames), rows in zip(gaps, tokens, strict=True):
            for row, expression in enumerate(missing):
                for column, frame in enumerate(frames):
                    # A copy: a view would keep the tokens of all others.
                    frame.perceived[expression] = rows[row, column].clone()

    def _perceive(self, gaps: Sequence[Gap], references: int) -> list[torch.Tensor]:
        """(K, T, num_latents, D) of each gap of T frames that lack K expressions."""
        prompt = self._prompt_of([missing for missing, _ in gaps], references)
        vision = torch.stack([frame.vision for _, frames in gaps for frame in frames])
        return list(self._model.perceive_frames(vision.unflatten(0, (len(gaps), -1)), prompt))


def own_rows(batch: torch.Tensor) -> list[torch.Tensor]:
    """The rows of a batch, to be kept: a view of one among several would keep them all."""
    return [row.clone() for row in batch] if len(batch) > 1 else list(batch)


def _gaps(reading: Reading) -> list[Gap]:
    """Expressions of a reading, with the frames that lack just these."""
    missing = [
        tuple(each for each in reading.expressions if each not in frame.perceived)
        for frame in reading.shown
    ]
    return [
        (missing[places[0]], [reading.shown[place] for place in places])
        for places in alike(missing)
        if missing[places[0]]
    ]


def _perceived(pairs: Sequence[Pair]) -> torch.Tensor:
    """(N, T * num_latents, D) reference tokens of N pairs."""
    return torch.stack(
        [
            torch.cat([frame.perceived[expression] for frame in frames])
            for expression, frames in pairs
        ]
    )


def _kept_lead(expression: Expression, frames: tuple[FrameTokens, ...]) -> Lead | None:
    kept = expression.lead
    return kept.lead if kept is not None and kept.frames == frames else None
