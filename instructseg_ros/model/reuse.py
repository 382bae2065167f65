"""What is kept of frames and instructions, so that nothing is computed twice (spec 9.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final
from weakref import WeakKeyDictionary

import torch

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.pixels import PixelFeatures
from instructseg_ros.model.prompts import TEMPORAL_ID
from instructseg_ros.model.states import Lead, Prompt
from instructseg_ros.model.tasks import Task

PromptOf = Callable[[Sequence['Expression'], int], Prompt]
_TEXT_LEADS: Final = 8  # kinds of prompts; a model has four


@dataclasses.dataclass(kw_only=True, eq=False)
class Expression:
    """An instruction as the model reads it; what is kept for it goes when it goes.

    Args:
        text: the instruction.
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

    vision: torch.Tensor
    perceived: WeakKeyDictionary[Expression, torch.Tensor] = dataclasses.field(
        default_factory=WeakKeyDictionary
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
    mask_tokens: torch.Tensor
    pooled: torch.Tensor
    cells: torch.Tensor | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FramePixels:
    """The mask branch's features of a frame, and how they lie in it.

    Args:
        features: of the one frame.
        size: (height, width) of the frame.
        canvas: (height, width) that the mask branch saw.
    """

    features: PixelFeatures
    size: tuple[int, int]
    canvas: tuple[int, int]


class ReferenceReader:
    """Reads reference frames for expressions: each pair once, each start of a prompt once."""

    def __init__(self, model: InstructSegModel, prompt_of: PromptOf) -> None:
        self._model = model
        self._prompt_of = prompt_of
        self._text_leads: dict[tuple[int, ...], Lead] = {}

    def clear(self) -> None:
        """Let go of what is kept here; frames and expressions keep theirs."""
        self._text_leads.clear()

    def tokens(
        self, expressions: Sequence[Expression], frames: Sequence[FrameTokens]
    ) -> torch.Tensor:
        """(1, K, T * num_latents, D) reference tokens of T frames for K expressions."""
        self._perceive_missing(expressions, frames)
        rows = [torch.cat([frame.perceived[each] for frame in frames]) for each in expressions]
        return torch.stack(rows)[None]

    def text_lead(self, prompt: Prompt) -> Lead | None:
        """What the text leaves that every prompt of a kind begins with."""
        if not prompt.text:
            return None
        if prompt.text not in self._text_leads:
            if len(self._text_leads) >= _TEXT_LEADS:
                self._text_leads.clear()
            self._text_leads[prompt.text] = self._model.read_text(prompt)
        return self._text_leads[prompt.text]

    def end_a_lead(self, prompt: Prompt, frames: Sequence[FrameTokens]) -> bool:
        """Whether all reference tokens come in the prompts' start, as in the released ones."""
        places = len(frames) * self._model.config.num_latents
        return 0 < places == prompt.lead.count(TEMPORAL_ID) and not prompt.prefix_length

    def lead(
        self, expressions: Sequence[Expression], frames: Sequence[FrameTokens], prompt: Prompt
    ) -> Lead:
        """What the prompts of expressions leave up to the end of the reference tokens."""
        frames = tuple(frames)
        new = [each for each in expressions if each.lead is None or each.lead.frames != frames]
        for expression in new:
            expression.lead = None  # before the next one takes as much memory
        if new:
            lead = self._model.read_lead(
                self._prompt_of(new, len(frames)), self.tokens(new, frames)
            )
            for row, expression in enumerate(new):
                expression.lead = ReferenceLead(frames=frames, lead=lead.row(row))
        leads = [each.lead.lead for each in expressions if each.lead is not None]
        assert all(lead.ids == prompt.lead for lead in leads)
        return Lead.join(leads) if len(leads) > 1 else leads[0]

    def _perceive_missing(
        self, expressions: Sequence[Expression], frames: Sequence[FrameTokens]
    ) -> None:
        """Read the frames that lack the same expressions together."""
        lacking: dict[tuple[Expression, ...], list[FrameTokens]] = {}
        for frame in frames:
            missing = tuple(each for each in expressions if each not in frame.perceived)
            lacking.setdefault(missing, []).append(frame)
        lacking.pop((), None)
        for missing, unread in lacking.items():
            prompt = self._prompt_of(missing, len(frames))
            vision = torch.stack([frame.vision for frame in unread])[None]
            tokens = self._model.perceive_frames(vision, prompt)[0]
            for row, expression in enumerate(missing):
                for column, frame in enumerate(unread):
                    # A copy: a view would keep the tokens of all others.
                    frame.perceived[expression] = tokens[row, column].clone()
