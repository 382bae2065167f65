"""The tokens of instructions that come again with every frame."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

import torch

from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.reuse import Expression
from instructseg_ros.model.states import Prompt
from instructseg_ros.model.tasks import Task

Instructions = tuple[tuple[tuple[str, Task], ...], ...]
_PROMPTS: Final = 32  # sets of instructions whose tokens are kept


class PromptCache:
    """Prompts of instructions on a device, the newest of them kept."""

    def __init__(
        self, processor: InstructSegProcessor, *, device: torch.device, longest: int
    ) -> None:
        """Begin with none.

        Args:
            processor: of the model.
            device: where prompts are wanted.
            longest: most tokens that the model reads.
        """
        self._processor = processor
        self._device = device
        self._longest = longest
        self._multiple = 1
        self._kept = functools.lru_cache(maxsize=_PROMPTS)(self._tokenize)

    def pad(self, multiple: int) -> None:
        """From now on, pad prompts to a multiple of so many tokens."""
        self._multiple = multiple
        self.clear()

    def clear(self) -> None:
        """Let go of all prompts."""
        self._kept.cache_clear()

    def __call__(self, expressions: Sequence[Sequence[Expression]], references: int) -> Prompt:
        """The prompt of K expressions on each of F frames.

        Args:
            expressions: of each frame, as many for all.
            references: reference frames of each; 0 for still images.

        Raises:
            ValueError: it is longer than the model reads.
        """
        key = tuple(tuple((each.text, each.task) for each in frame) for frame in expressions)
        prompt = self._kept(key, references)
        length = prompt.input_ids.shape[-1]
        if length > self._longest:
            raise ValueError(
                f'the instruction and {references} reference frames take {length} tokens, and the '
                f'model reads {self._longest}: shorten the text or give fewer reference frames'
            )
        return prompt

    def _tokenize(self, instructions: Instructions, references: int) -> Prompt:
        prompt = self._processor.prompt(
            [[text for text, _ in frame] for frame in instructions],
            task=[[task for _, task in frame] for frame in instructions],
            reference_frames=references,
            multiple_of=self._multiple,
            verbatim=True,
        )
        return prompt.to(self._device)
