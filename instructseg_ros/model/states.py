"""What goes from one stage of the model to the next."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import torch

from instructseg_ros.model.mask_decoder import MaskPredictions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """K tokenised instructions on each of F frames, right-padded to a common length.

    Args:
        input_ids: (F, K, L) token ids, and the negative ids of places for embeddings.
        refer_mask: (F, K, L) bool, True at the instruction's tokens and its [SEG].
        prefix_length: leading tokens that are the same for all instructions on a frame.
        read_from: first token of any instruction; states before it are not read.
        refer_stop: end of the last instruction.
        start_ids: leading ids before the image that are the same in all instructions: words, and
            places of reference tokens.
    """

    input_ids: torch.Tensor = dataclasses.field(repr=False)
    refer_mask: torch.Tensor = dataclasses.field(repr=False)
    prefix_length: int
    read_from: int
    refer_stop: int
    start_ids: tuple[int, ...] = ()

    @property
    def text(self) -> tuple[int, ...]:
        """Leading ids of `start_ids` that are words."""
        return tuple(itertools.takewhile(lambda token: token >= 0, self.start_ids))

    def to(self, device: torch.device) -> Prompt:
        """The same prompt on another device."""
        return dataclasses.replace(
            self, input_ids=self.input_ids.to(device), refer_mask=self.refer_mask.to(device)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisualContext:
    """What the language model is given to see.

    Args:
        image_tokens: (F, V, D) of the key frame.
        reference_tokens: (F, K, T * num_latents, D), or None where motion is in the image tokens,
            and where a kept prefix has them.
    """

    image_tokens: torch.Tensor = dataclasses.field(repr=False)
    reference_tokens: torch.Tensor | None = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefixCache:
    """What the first tokens of prompts leave in the language model, to be kept while they stay.

    Args:
        ids: their ids, the same in all N sequences.
        states: keys and values of each layer, (N, heads, len(ids), d).
    """

    ids: tuple[int, ...]
    states: tuple[tuple[torch.Tensor, torch.Tensor], ...] = dataclasses.field(repr=False)

    def row(self, index: int) -> PrefixCache:
        """The prefix of one sequence, in memory of its own."""
        part = slice(index, index + 1)
        states = tuple((keys[part].clone(), values[part].clone()) for keys, values in self.states)
        return PrefixCache(ids=self.ids, states=states)

    @classmethod
    def join(cls, prefixes: Sequence[PrefixCache]) -> PrefixCache:
        """One prefix of all sequences."""
        layers = zip(*(prefix.states for prefix in prefixes), strict=True)
        return cls(
            ids=prefixes[0].ids,
            states=tuple(
                (torch.cat(keys), torch.cat(values))
                for keys, values in (zip(*layer, strict=True) for layer in layers)
            ),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reasoning:
    """What the language model makes of the instructions.

    Args:
        mask_tokens: (F, K, Q, D) states of the mask tokens.
        pooled: (F, K, D) mean state of each instruction's tokens.
        cells: (F, V, D) states of the image tokens, or None without a shared prefix.
        states: (F, K, L - read_from, D) final states of all tokens from `read_from` on; None unless
            asked for.
        layers: before the first layer and after each, the states of the prefix (F, P, D) and of
            the rest (F, K, L - P, D), the last of them from `read_from` on; empty unless asked for.
    """

    mask_tokens: torch.Tensor = dataclasses.field(repr=False)
    pooled: torch.Tensor = dataclasses.field(repr=False)
    cells: torch.Tensor | None = dataclasses.field(repr=False)
    states: torch.Tensor | None = dataclasses.field(default=None, repr=False)
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...] = dataclasses.field(
        default=(), repr=False
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstructSegOutput:
    """Predictions before the first decoder layer and after each; the last one is the answer.

    Args:
        predictions: deep predictions, last one final.
        pointer_logits: (F, K, Q, V), or None where the model has no pointer.
    """

    predictions: list[MaskPredictions]
    pointer_logits: torch.Tensor | None = dataclasses.field(repr=False)

    @property
    def final(self) -> MaskPredictions:
        """The model's answer."""
        return self.predictions[-1]
