"""Inputs and outputs of the stages of `InstructSegModel`."""

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
        input_ids: (F, K, L) token ids, and negative ids as placeholders of embeddings.
        refer_mask: (F, K, L) bool, True at the instruction's tokens and its [SEG].
        prefix_length: Number of leading tokens, the image included, that are the same for all
            instructions on a frame.
        read_from: Position of the first token of any instruction; earlier states are not used.
        refer_stop: Position at which all instructions have ended.
        start_ids: Leading ids before the image that are the same for all instructions: words and
            placeholders of reference tokens.
    """

    input_ids: torch.Tensor = dataclasses.field(repr=False)
    refer_mask: torch.Tensor = dataclasses.field(repr=False)
    prefix_length: int
    read_from: int
    refer_stop: int
    start_ids: tuple[int, ...] = ()

    @property
    def text(self) -> tuple[int, ...]:
        """Token ids of `start_ids` before its first placeholder."""
        return tuple(itertools.takewhile(lambda token: token >= 0, self.start_ids))

    def to(self, device: torch.device) -> Prompt:
        """Return the same prompt on another device."""
        return dataclasses.replace(
            self, input_ids=self.input_ids.to(device), refer_mask=self.refer_mask.to(device)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisualContext:
    """Visual input of the language model.

    Args:
        image_tokens: (F, V, D) tokens of the key frames.
        reference_tokens: (F, K, T * num_latents, D), or None if motion is part of the image tokens
            or a prefix cache holds the reference tokens.
    """

    image_tokens: torch.Tensor = dataclasses.field(repr=False)
    reference_tokens: torch.Tensor | None = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefixCache:
    """Key/value cache of the first tokens of prompts.

    Args:
        ids: Ids of the tokens, the same in all N sequences.
        states: Keys and values of each layer, (N, heads, len(ids), d).
    """

    ids: tuple[int, ...]
    states: tuple[tuple[torch.Tensor, torch.Tensor], ...] = dataclasses.field(repr=False)

    def row(self, index: int) -> PrefixCache:
        """Copy the cache of one sequence."""
        part = slice(index, index + 1)
        states = tuple((keys[part].clone(), values[part].clone()) for keys, values in self.states)
        return PrefixCache(ids=self.ids, states=states)

    @classmethod
    def join(cls, prefixes: Sequence[PrefixCache]) -> PrefixCache:
        """Concatenate the sequences of several caches with equal ids."""
        layers = zip(*(prefix.states for prefix in prefixes), strict=True)
        return cls(
            ids=prefixes[0].ids,
            states=tuple(
                (torch.cat(keys), torch.cat(values))
                for keys, values in (zip(*layer, strict=True) for layer in layers)
            ),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagePrefix:
    """The language model's states for the beginning of a prompt that ends with the image.

    Args:
        layers: States before the first layer and after each layer, (F, P, D); of these only the
            last ones are needed for masks.
        states: Keys and values of each layer, (F, heads, P, d).
    """

    layers: tuple[torch.Tensor, ...] = dataclasses.field(repr=False)
    states: tuple[tuple[torch.Tensor, torch.Tensor], ...] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reasoning:
    """Output of the language model.

    Args:
        mask_tokens: (F, K, Q, D) states of the mask tokens.
        pooled: (F, K, D) mean state of each instruction's tokens.
        cells: (F, V, D) states of the image tokens, or None if the prompts have no shared prefix.
        states: (F, K, L - read_from, D) final states of all tokens from `read_from` on; None unless
            requested.
        layers: States of the prefix (F, P, D) and of the rest (F, K, L - P, D), before the first
            layer and after each layer; the rest's final states start at `read_from`. Empty unless
            requested.
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
    """Mask predictions before the first decoder layer and after each layer.

    Args:
        predictions: Predictions in that order, the final one last.
        pointer_logits: (F, K, Q, V), or None if the model has no pointer.
    """

    predictions: list[MaskPredictions]
    pointer_logits: torch.Tensor | None = dataclasses.field(repr=False)

    @property
    def final(self) -> MaskPredictions:
        """The final prediction."""
        return self.predictions[-1]
