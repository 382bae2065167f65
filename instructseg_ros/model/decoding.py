"""What was understood on several frames, in batches as the mask decoder takes them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

import torch

from instructseg_ros.model.batches import alike
from instructseg_ros.model.reuse import Understanding
from instructseg_ros.model.states import Reasoning


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What is decoded on a frame and was understood on one frame, so that it shares its cells.

    Args:
        frame: number of the frame to decode on.
        places: those of the understandings among all on the frame.
        understandings: at least one.
        turn: how many parts of this size come before it on its frame.
    """

    frame: int
    places: Sequence[int]
    understandings: Sequence[Understanding]
    turn: int

    @property
    def kind(self) -> tuple[int, int]:
        """Equal in parts that go in one batch, which has no frame, and its features, twice."""
        return len(self.places), self.turn


def parts(understandings: Sequence[Sequence[Understanding]]) -> Iterator[Part]:
    """The parts of what is decoded on each of F frames."""
    for frame, given in enumerate(understandings):
        turns: Counter[int] = Counter()
        for places in alike(id(each.cells) for each in given):
            yield Part(
                frame=frame,
                places=places,
                understandings=[given[place] for place in places],
                turn=turns[len(places)],
            )
            turns[len(places)] += 1


def join(batch: Sequence[Part]) -> Reasoning:
    """One batch of parts that have equal numbers of understandings."""
    given = [each for part in batch for each in part.understandings]
    shape = (len(batch), -1)
    cells = [part.understandings[0].cells for part in batch]
    shared = [each for each in cells if each is not None]
    return Reasoning(
        mask_tokens=torch.stack([each.mask_tokens for each in given]).unflatten(0, shape),
        pooled=torch.stack([each.pooled for each in given]).unflatten(0, shape),
        cells=torch.stack(shared) if shared else None,
    )
