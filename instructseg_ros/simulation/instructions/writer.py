"""Draws wordings, keeping those held out of training apart from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from instructseg_ros.simulation.instructions.phrase import Phrase, compose
from instructseg_ros.simulation.scene_graph import SceneGraph

HELD_OUT_SHARE = 0.4
BARE_SHARE = 0.3

T = TypeVar('T')


@dataclass(frozen=True)
class Wordings:
    """Ways to say one thing: those a model is trained with and those held out of training."""

    trained: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    def __add__(self, other: Wordings) -> Wordings:
        return Wordings(self.trained + other.trained, self.held_out + other.held_out)


class Writer:
    """The scene that is spoken of, the random source and the choice of wordings.

    With `held_out`, wordings held out of training are drawn too, and the final `sentence` is one of
    them if nothing before was.
    """

    def __init__(self, graph: SceneGraph, rng: np.random.Generator, *, held_out: bool) -> None:
        self.graph = graph
        self._rng = rng
        self._held_out = held_out
        self._drew_held_out = False

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._rng.random() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[int(self._rng.random() * len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The options in random order."""
        return [options[i] for i in self._rng.permutation(len(options))]

    def pick(self, wordings: Wordings) -> str:
        """One of the wordings, held out ones only where they are wanted."""
        if self._held_out and wordings.held_out and self.chance(HELD_OUT_SHARE):
            return self._pick_held_out(wordings)
        return self.choice(wordings.trained)

    def sentence(self, wordings: Wordings, **slots: Phrase) -> Phrase:
        """The finished text: a sentence around the slots, written as people type."""
        if self._held_out and not self._drew_held_out:
            template = self._pick_held_out(wordings)
        else:
            template = self.pick(wordings)
        return self._typed(compose(template, **slots))

    def request(self, it: Phrase, wordings: Wordings) -> Phrase:
        """A sentence that asks for `it`, or nothing but `it`."""
        held_out_is_due = self._held_out and not self._drew_held_out
        if not held_out_is_due and self.chance(BARE_SHARE):
            return self._typed(it)
        return self.sentence(wordings, it=it)

    def _pick_held_out(self, wordings: Wordings) -> str:
        self._drew_held_out = True
        return self.choice(wordings.held_out)

    def _typed(self, phrase: Phrase) -> Phrase:
        text = phrase.text
        if text.endswith('?'):
            text = text if self.chance(0.7) else text[:-1]
        elif self.chance(0.2):
            text += '.'
        if self.chance(0.4):
            text = text[0].upper() + text[1:]
        return Phrase(text, phrase.groundings)


def labels_of(weights: Mapping[int, float]) -> frozenset[int]:
    """The labels that a grounding or a relation is certainly true of."""
    return frozenset(label for label, weight in weights.items() if weight == 1.0)
