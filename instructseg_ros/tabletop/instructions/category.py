"""Interface of the instruction categories; each category has a module, which `generate` uses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from instructseg_ros.tabletop.instructions.wording import Phrase, Wordings, Writer
from instructseg_ros.tabletop.world.scene_graph import SceneObject


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A finished text and the labels of the objects it refers to (see `TabletopInstruction`)."""

    text: Phrase
    targets: frozenset[int]
    candidates: frozenset[int]
    anchors: frozenset[int] = frozenset()


class Generator(Protocol):
    """Drafts an instruction about the writer's scene."""

    def __call__(self, writer: Writer, *, absent: bool) -> Draft | None:
        """Return a draft, or None if the scene does not offer one.

        Args:
            writer: Scene, random source and choice of wordings.
            absent: Refer to something that is not in the scene.
        """


@dataclass(frozen=True, kw_only=True)
class InstructionCategory:
    """A category of instructions: how it is worded and how often training and demo use it.

    Attributes:
        name: Identifies the category in data sets, reports and figures.
        generator: Drafts one instruction.
        sentences: Sentences around the noun phrase.
        wordings: All wordings of the category, `sentences` included.
        share: Relative frequency in the training set, for scenes in which something moves.
        share_at_rest: Relative frequency in the training set, for scenes in which nothing moves.
        early_weight: Relative frequency in a training batch while words are learned.
        late_weight: Relative frequency in a training batch while comparisons are learned.
        demo_examples: Number of instructions in the demo.
        is_reasoning: Whether the target is described by its use instead of being named.
        is_lasting: Whether the targets stay the same while objects move.
    """

    name: str
    generator: Generator
    sentences: Wordings
    wordings: tuple[Wordings, ...]
    share: float
    share_at_rest: float
    early_weight: float
    late_weight: float
    demo_examples: int = 1
    is_reasoning: bool = False
    is_lasting: bool = False


def labels(objects: Iterable[SceneObject]) -> frozenset[int]:
    """Return the labels of the objects."""
    return frozenset(obj.label for obj in objects)
