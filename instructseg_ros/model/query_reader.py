"""Runs the language model over the queries of several frames, in batches of equal shape.

Nothing is computed twice. A frame's features keep its reference tokens, a query keeps the key/value
cache of the start of its prompt, and this module keeps tokenised prompts and the key/value cache of
their common text.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final, TypeVar

import torch

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.query import FrameFeatures, InstructionEmbedding, Query
from instructseg_ros.model.stage_outputs import (
    ImagePrefix,
    PrefixCache,
    Prompt,
    Reasoning,
    VisualContext,
)
from instructseg_ros.model.tasks import TEMPORAL_ID, Task

Item = TypeVar('Item')
Result = TypeVar('Result')
# Returns the tokenised prompt of K queries on each of F frames, for a number of reference frames.
PromptFunction = Callable[[Sequence[Sequence[Query]], int], Prompt]
# Combines (F, V, D) vision tokens with (F, T, V, D) of reference frames, if any; returns the image
# tokens and what the language model makes of them.
ReadImage = Callable[[torch.Tensor, torch.Tensor | None], tuple[torch.Tensor, ImagePrefix]]
Texts = tuple[tuple[tuple[str, Task], ...], ...]
MAX_PROMPTS: Final = 32  # sets of queries whose tokens are cached
MAX_TEXT_PREFIXES: Final = 8  # types of prompts; a model has four


def group(keys: Iterable[Hashable]) -> list[list[int]]:
    """Return groups of indices of equal keys, ordered by the first appearance of each key."""
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def in_batches(
    items: Sequence[Item],
    keys: Iterable[Hashable],
    work: Callable[[Sequence[Item]], Sequence[Result]],
) -> list[Result]:
    """Process items with equal keys in one batch.

    Args:
        items: Items to process.
        keys: Key of each item.
        work: Returns one result for each item of a batch.

    Returns:
        The results in the order of the items.
    """
    results: dict[int, Result] = {}
    for indices in group(keys):
        results.update(zip(indices, work([items[index] for index in indices]), strict=True))
    return [results[index] for index in range(len(items))]


class PromptCache:
    """Tokenises prompts and keeps the most recently used ones on the device."""

    def __init__(
        self, processor: InstructSegProcessor, *, device: torch.device, max_length: int
    ) -> None:
        """Create an empty cache.

        Args:
            processor: The model's processor.
            device: Device of the prompts.
            max_length: Maximum number of tokens that the language model can read.
        """
        self._processor = processor
        self._device = device
        self._max_length = max_length
        self._multiple = 1
        self._kept = functools.lru_cache(maxsize=MAX_PROMPTS)(self._tokenize)

    def pad(self, multiple: int) -> None:
        """Pad all later prompts to a multiple of this many tokens."""
        self._multiple = multiple
        self.clear()

    def clear(self) -> None:
        """Release all prompts."""
        self._kept.cache_clear()

    def __call__(self, queries: Sequence[Sequence[Query]], references: int) -> Prompt:
        """Return the prompt of K queries on each of F frames.

        Args:
            queries: Prepared queries of each frame, the same number for all.
            references: Number of reference frames; 0 for still images.

        Raises:
            ValueError: The prompt is longer than the model reads.
        """
        texts = tuple(tuple((each.prompt_text or '', each.task) for each in row) for row in queries)
        prompt = self._kept(texts, references)
        length = prompt.input_ids.shape[-1]
        if length > self._max_length:
            raise ValueError(
                f'the instruction and {references} reference frames take {length} tokens, and the '
                f'model reads at most {self._max_length}: shorten the text or use fewer reference '
                f'frames'
            )
        return prompt

    def _tokenize(self, texts: Texts, references: int) -> Prompt:
        prompt = self._processor.prompt(
            [[text for text, _ in row] for row in texts],
            task=[[task for _, task in row] for row in texts],
            reference_frames=references,
            multiple_of=self._multiple,
            verbatim=True,
        )
        return prompt.to(self._device)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class QueryBatch:
    """One frame with its queries and reference frames; frames of equal `shape` form a batch.

    Args:
        queries: Queries to run on the frame.
        features: Features of the frame.
        references: Features of earlier frames, oldest first; empty for a still image.
    """

    queries: Sequence[Query]
    features: FrameFeatures
    references: tuple[FrameFeatures, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of queries and of reference frames."""
        return len(self.queries), len(self.references)

    @property
    def perceived_frames(self) -> tuple[FrameFeatures, ...]:
        """Reference frames; a still image is its own reference, as in the authors' code."""
        return self.references or (self.features,)


class QueryReader:
    """Runs the language model: each stage once for all frames of equal shape, in one batch.

    Attributes:
        read_image: Runs the language model over images that are the beginning of the prompt,
            instead of the model; None: the model does.
    """

    def __init__(self, model: InstructSegModel, prompt_of: PromptFunction) -> None:
        """Create a reader.

        Args:
            model: The model.
            prompt_of: Tokenises queries.
        """
        self.read_image: ReadImage | None = None
        self._model = model
        self._prompt_of = prompt_of
        self._text_prefixes: dict[tuple[int, ...], PrefixCache] = {}

    def clear(self) -> None:
        """Release the caches of this object; frames and queries keep theirs."""
        self._text_prefixes.clear()

    def reason(
        self, frames: Sequence[QueryBatch], *, keep_references: bool
    ) -> list[list[InstructionEmbedding]]:
        """Return the embeddings of each frame, in the order of its queries.

        Args:
            frames: Frames with their queries.
            keep_references: Keep the key/value cache of the reference frames in each query.
        """
        return in_batches(
            frames,
            [frame.shape for frame in frames],
            lambda batch: self._reason(batch, keep_references=keep_references),
        )

    def reference_tokens(self, batch: Sequence[QueryBatch]) -> torch.Tensor:
        """Return (F, K, T * num_latents, D) tokens of T reference frames, for K queries each."""
        self._perceive_missing(batch)
        pairs = [(query, frame.perceived_frames) for frame in batch for query in frame.queries]
        return _perceived(pairs).unflatten(0, (len(batch), -1))

    def text_prefix(self, prompt: Prompt) -> PrefixCache | None:
        """Return the key/value cache of the text that all prompts of a type begin with."""
        if not prompt.text:
            return None
        if prompt.text not in self._text_prefixes:
            if len(self._text_prefixes) >= MAX_TEXT_PREFIXES:
                self._text_prefixes.clear()
            self._text_prefixes[prompt.text] = self._model.prefill_text(prompt)
        return self._text_prefixes[prompt.text]

    def reference_prefix(self, batch: Sequence[QueryBatch], prompt: Prompt) -> PrefixCache:
        """Return the key/value cache of F * K prompts up to their images.

        All entries that are not cached yet are computed together, even if they belong to different
        frames.
        """
        pairs = [(query, frame.references) for frame in batch for query in frame.queries]
        rows = {
            index: query.prefix
            for index, (query, frames) in enumerate(pairs)
            if query.prefix is not None and query.prefix_frames == frames
        }
        new = [index for index in range(len(pairs)) if index not in rows]
        if new:
            self._perceive_missing(batch)
            rows.update(zip(new, self._prefill([pairs[index] for index in new]), strict=True))
        prefixes = [rows[index] for index in range(len(pairs))]
        assert all(prefix.ids == prompt.start_ids for prefix in prefixes)
        return PrefixCache.join(prefixes) if len(prefixes) > 1 else prefixes[0]

    def _reason(
        self, batch: Sequence[QueryBatch], *, keep_references: bool
    ) -> list[list[InstructionEmbedding]]:
        queries, references = batch[0].shape
        if not queries:
            return [[] for _ in batch]
        prompt = self._prompt_of([frame.queries for frame in batch], references)
        if self.read_image and prompt.prefix_length == batch[0].features.vision.shape[0]:
            image = torch.stack([frame.features.vision for frame in batch])
            vision = _reference_vision(batch)
            tokens, image_prefix = self.read_image(image, vision)
            context = VisualContext(image_tokens=tokens, reference_tokens=None)
            return _embeddings(
                batch, self._model.reason(context, prompt, image_prefix=image_prefix)
            )
        context, prefix = self._context(batch, prompt, keep_references=keep_references)
        return _embeddings(batch, self._model.reason(context, prompt, prefix_cache=prefix))

    def _context(
        self, batch: Sequence[QueryBatch], prompt: Prompt, *, keep_references: bool
    ) -> tuple[VisualContext, PrefixCache | None]:
        """Return the language model's visual input and the prefix cache."""
        image = torch.stack([frame.features.vision for frame in batch])
        if self._model.config.motion_perceiver:
            return self._model.perceive(image, _reference_vision(batch), prompt), None
        if keep_references and self._prefix_holds_references(prompt, len(batch[0].references)):
            prefix = self.reference_prefix(batch, prompt)
            return VisualContext(image_tokens=image, reference_tokens=None), prefix
        tokens = self.reference_tokens(batch)
        context = VisualContext(image_tokens=image, reference_tokens=tokens)
        return context, self.text_prefix(prompt)

    def _prefix_holds_references(self, prompt: Prompt, references: int) -> bool:
        """Return whether all reference tokens precede the image, as in the released prompts."""
        tokens = references * self._model.config.num_latents
        return 0 < tokens == prompt.start_ids.count(TEMPORAL_ID) and not prompt.prefix_length

    def _prefill(
        self, pairs: Sequence[tuple[Query, tuple[FrameFeatures, ...]]]
    ) -> list[PrefixCache]:
        """Compute the prefixes of N queries with their reference frames in a batch; keep them."""
        for query, _ in pairs:
            query.prefix = None  # released before its successor takes up memory
        prompt = self._prompt_of([[query] for query, _ in pairs], len(pairs[0][1]))
        together = self._model.prefill_references(prompt, _perceived(pairs)[:, None])
        prefixes = [together.row(row) for row in range(len(pairs))]
        for (query, frames), prefix in zip(pairs, prefixes, strict=True):
            query.prefix, query.prefix_frames = prefix, frames
        return prefixes

    def _perceive_missing(self, batch: Sequence[QueryBatch]) -> None:
        """Compute the reference tokens that queries still lack.

        Reference frames that lack tokens for the same number of queries form one batch.
        """
        references = len(batch[0].perceived_frames)
        gaps = [gap for frame in batch for gap in _gaps(frame)]
        tokens = in_batches(
            gaps,
            [(len(queries), len(frames)) for queries, frames in gaps],
            lambda some: self._perceive(some, references),
        )
        for (queries, frames), rows in zip(gaps, tokens, strict=True):
            for row, query in enumerate(queries):
                for column, frame in enumerate(frames):
                    # A copy: a view would keep all other tokens alive.
                    frame.perceived[query] = rows[row, column].clone()

    def _perceive(
        self, gaps: Sequence[tuple[Sequence[Query], Sequence[FrameFeatures]]], references: int
    ) -> list[torch.Tensor]:
        """Return (K, T, num_latents, D) tokens for each gap: K queries, T frames without them."""
        prompt = self._prompt_of([queries for queries, _ in gaps], references)
        vision = torch.stack([frame.vision for _, frames in gaps for frame in frames])
        return list(self._model.perceive_frames(vision.unflatten(0, (len(gaps), -1)), prompt))


def own_rows(batch: torch.Tensor) -> list[torch.Tensor]:
    """Return the rows of a batch as separate tensors: a view would keep the whole batch alive."""
    return [row.clone() for row in batch] if len(batch) > 1 else list(batch)


def _gaps(frame: QueryBatch) -> list[tuple[Sequence[Query], Sequence[FrameFeatures]]]:
    """Return sets of queries, each with the reference frames that lack tokens for this set."""
    shown = frame.perceived_frames
    missing = [tuple(q for q in frame.queries if q not in each.perceived) for each in shown]
    return [
        (missing[indices[0]], [shown[index] for index in indices])
        for indices in group(missing)
        if missing[indices[0]]
    ]


def _perceived(pairs: Sequence[tuple[Query, tuple[FrameFeatures, ...]]]) -> torch.Tensor:
    """Return (N, T * num_latents, D) reference tokens of N queries with T frames each."""
    return torch.stack(
        [torch.cat([frame.perceived[query] for frame in frames]) for query, frames in pairs]
    )


def _reference_vision(batch: Sequence[QueryBatch]) -> torch.Tensor | None:
    """Return (F, T, V, D) vision tokens of the reference frames, or None for still images."""
    if not batch[0].references:
        return None
    return torch.stack(
        [torch.stack([reference.vision for reference in frame.references]) for frame in batch]
    )


def _embeddings(
    batch: Sequence[QueryBatch], reasoning: Reasoning
) -> list[list[InstructionEmbedding]]:
    tokens, pooled = own_rows(reasoning.mask_tokens), own_rows(reasoning.pooled)
    cells = [None] * len(batch) if reasoning.cells is None else own_rows(reasoning.cells)
    return [
        [
            InstructionEmbedding(
                mask_tokens=tokens[f][k],
                pooled=pooled[f][k],
                cells=cells[f],
                known=query.known,
                unknown=query.unknown,
                repaired=query.repaired,
                noun=query.noun,
            )
            for k, query in enumerate(frame.queries)
        ]
        for f, frame in enumerate(batch)
    ]
