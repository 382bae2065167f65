"""A query on a stream, and what the model has computed for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

from instructseg_ros.model.noun_query import NounQuery
from instructseg_ros.model.tasks import Task, choose_task

if TYPE_CHECKING:
    import torch

    from instructseg_ros.model.composition import Operation
    from instructseg_ros.model.pixel_branch import PixelFeatures
    from instructseg_ros.model.stage_outputs import PrefixCache


# (H, W, 3) uint8 RGB, or a PIL image.
ImageInput: TypeAlias = np.ndarray | Image.Image


@dataclasses.dataclass(kw_only=True, eq=False)
class Query:
    """An instruction for the model, with everything that is cached for it between frames.

    Queries are compared by identity: equal texts on two cameras have separate caches.

    Args:
        text: Instruction in natural language.
        task: AUTO chooses referring or reasoning from the text.
        verbatim: Pass the text to the model letter for letter, as benchmarks do; otherwise
            whitespace is normalised, a referring phrase gets a full stop, typing errors are
            repaired, and some texts are split into `parts`.

    Attributes:
        prompt_text: Text for the prompt; None until `Segmenter.prepare`.
        known: Whether the model knows any word of the text.
        unknown: Words of the text that the tokenizer has no tokens for, or that name objects which
            the model was not trained with.
        repaired: Misspelt words of the text, and what each is read as.
        noun: The object that the text names, for photographs; None if it names none or if the model
            has no `NounFinder`.
        parts: Simpler queries that the model answers instead of this one; none for most texts.
        operation: Combines the answers to `parts`; None without parts.
        prefix: Key/value cache of everything before the image in the prompt.
        prefix_frames: Reference frames whose tokens are part of `prefix`.
        embedding: The language model's last output.
        reasoned_at: Stamp of the frame that `embedding` was computed on, ns.
        reference_frames: Number of reference frames that `embedding` was computed with.
        failed: Whether the model failed on this query last time; if so, the query runs alone.
    """

    text: str
    task: Task = Task.AUTO
    verbatim: bool = False
    prompt_text: str | None = dataclasses.field(default=None, init=False)
    known: bool = dataclasses.field(default=True, init=False)
    unknown: tuple[str, ...] = dataclasses.field(default=(), init=False)
    repaired: Mapping[str, str] = dataclasses.field(default_factory=dict, init=False)
    noun: NounQuery | None = dataclasses.field(default=None, init=False)
    parts: tuple[Query, ...] = dataclasses.field(default=(), init=False)
    operation: Operation | None = dataclasses.field(default=None, init=False)
    prefix: PrefixCache | None = dataclasses.field(default=None, init=False, repr=False)
    prefix_frames: tuple[FrameFeatures, ...] = dataclasses.field(default=(), init=False, repr=False)
    embedding: AnyEmbedding | None = dataclasses.field(default=None, init=False, repr=False)
    reasoned_at: int = dataclasses.field(default=0, init=False)
    reference_frames: int = dataclasses.field(default=0, init=False)
    failed: bool = dataclasses.field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.task is Task.AUTO:
            self.task = choose_task(self.text)

    def clear(self) -> None:
        """Release everything that the model computed."""
        self.prefix, self.prefix_frames, self.embedding = None, (), None
        for part in self.parts:
            part.clear()

    def simple(self) -> Iterator[Query]:
        """Yield the queries that the model answers: this one, or its parts and their parts."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.simple()


@dataclasses.dataclass(kw_only=True, eq=False)
class FrameFeatures:
    """Vision tokens of a frame, and the reference tokens computed from them for each query.

    Args:
        vision: (V, D) vision tokens.
        perceived: (num_latents, D) reference tokens for each active query.
    """

    vision: torch.Tensor = dataclasses.field(repr=False)
    perceived: WeakKeyDictionary[Query, torch.Tensor] = dataclasses.field(
        default_factory=WeakKeyDictionary, repr=False
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class InstructionEmbedding:
    """The language model's output for a query on a frame, which the mask decoder reads.

    Args:
        mask_tokens: (Q, D) states of the mask tokens.
        pooled: (D,) mean state of the instruction's tokens.
        cells: (V, D) states of the image tokens, one tensor shared by all queries of the frame;
            None if the prompts have no shared prefix.
        known, unknown, repaired, noun: As in `Query`.
    """

    mask_tokens: torch.Tensor = dataclasses.field(repr=False)
    pooled: torch.Tensor = dataclasses.field(repr=False)
    cells: torch.Tensor | None = dataclasses.field(repr=False)
    known: bool
    unknown: tuple[str, ...]
    repaired: Mapping[str, str]
    noun: NounQuery | None = None

    def simple(self) -> Iterator[InstructionEmbedding]:
        """Yield this embedding."""
        yield self


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CompositeEmbedding:
    """The embeddings of the parts of a query.

    Args:
        parts: Embedding of each part.
        texts: Instruction of each part.
        operation, repaired: As in `Query`.
    """

    parts: tuple[AnyEmbedding, ...] = dataclasses.field(repr=False)
    texts: tuple[str, ...]
    operation: Operation
    repaired: Mapping[str, str]

    def simple(self) -> Iterator[InstructionEmbedding]:
        """Yield the embeddings of the simple queries, in the order of `Query.simple`."""
        for part in self.parts:
            yield from part.simple()


AnyEmbedding: TypeAlias = 'InstructionEmbedding | CompositeEmbedding'


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PixelBatch:
    """The features that the mask branch computed for F frames, and the frames themselves.

    Args:
        features: Features of all frames, in one batch.
        images: The F frames.
        canvas: (height, width) of the mask branch's input.
    """

    features: PixelFeatures
    images: tuple[ImageInput, ...] = dataclasses.field(repr=False)
    canvas: tuple[int, int]
