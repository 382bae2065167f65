"""The language model over the instructions of several frames, in as few batches as there can be."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from instructseg_ros.model.batches import in_batches
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.reuse import PromptOf, Reading, ReferenceReader, Understanding, own_rows
from instructseg_ros.model.states import Lead, Prompt, Reasoning, VisualContext


class Reasoner:
    """Reads instructions on frames; those with equal numbers of everything in one batch."""

    def __init__(self, model: InstructSegModel, prompt_of: PromptOf) -> None:
        self._model = model
        self._prompt_of = prompt_of
        self._references = ReferenceReader(model, prompt_of)

    def clear(self) -> None:
        """Let go of what is kept here; frames and expressions keep theirs."""
        self._references.clear()

    def read(
        self, readings: Sequence[Reading], *, keep_references: bool
    ) -> list[list[Understanding]]:
        """What is understood on each frame, in the order of its expressions.

        Args:
            readings: what to read.
            keep_references: keep what the references leave in the language model.
        """
        return in_batches(
            readings,
            [reading.shape for reading in readings],
            lambda batch: self._read(batch, keep_references=keep_references),
        )

    def _read(
        self, batch: Sequence[Reading], *, keep_references: bool
    ) -> list[list[Understanding]]:
        instructions, references = batch[0].shape
        if not instructions:
            return [[] for _ in batch]
        prompt = self._prompt_of([reading.expressions for reading in batch], references)
        context, lead = self._see(batch, prompt, keep_references=keep_references)
        return _understandings(batch, self._model.reason(context, prompt, lead=lead))

    def _see(
        self, batch: Sequence[Reading], prompt: Prompt, *, keep_references: bool
    ) -> tuple[VisualContext, Lead | None]:
        """What the language model is shown, and what it has read before."""
        image = torch.stack([reading.tokens.vision for reading in batch])
        if self._model.config.motion_perceiver:
            return self._model.perceive(image, _reference_vision(batch), prompt), None
        if keep_references and self._references.end_a_lead(prompt, len(batch[0].references)):
            lead = self._references.lead(batch, prompt)
            return VisualContext(image_tokens=image, reference_tokens=None), lead
        seen = self._references.tokens(batch)
        context = VisualContext(image_tokens=image, reference_tokens=seen)
        return context, self._references.text_lead(prompt)


def _reference_vision(batch: Sequence[Reading]) -> torch.Tensor | None:
    """(F, T, V, D), or None for still images."""
    if not batch[0].references:
        return None
    return torch.stack(
        [torch.stack([frame.vision for frame in reading.references]) for reading in batch]
    )


def _understandings(batch: Sequence[Reading], reasoning: Reasoning) -> list[list[Understanding]]:
    tokens, pooled = own_rows(reasoning.mask_tokens), own_rows(reasoning.pooled)
    cells = [None] * len(batch) if reasoning.cells is None else own_rows(reasoning.cells)
    return [
        [
            Understanding(
                expression=each, mask_tokens=tokens[f][k], pooled=pooled[f][k], cells=cells[f]
            )
            for k, each in enumerate(reading.expressions)
        ]
        for f, reading in enumerate(batch)
    ]
