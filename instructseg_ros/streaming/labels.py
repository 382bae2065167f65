"""Numbers that stand for instructions in label images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instructseg_ros.streaming.segmentation import Segmentation, State

BACKGROUND = 0


class Labels:
    """Gives each instruction the smallest free number from 1 on, for as long as it is live."""

    def __init__(self) -> None:
        """Begin with no number given."""
        self._numbers: dict[str, int] = {}
        self._texts: dict[str, str] = {}

    @property
    def names(self) -> dict[int, str]:
        """The text that each number in use stands for; 0 is the background."""
        named = {number: self._texts[id] for id, number in self._numbers.items()}
        return {BACKGROUND: 'background', **dict(sorted(named.items()))}

    def number(self, result: Segmentation) -> int:
        """Return the number of a result's instruction, a new one if it has none."""
        id = result.instruction.id
        if id not in self._numbers:
            used = set(self._numbers.values())
            self._numbers[id] = next(n for n in range(1, len(used) + 2) if n not in used)
            self._texts[id] = result.instruction.text
        return self._numbers[id]

    def release(self, result: Segmentation) -> None:
        """Let the number of an instruction be used again."""
        self._numbers.pop(result.instruction.id, None)
        self._texts.pop(result.instruction.id, None)

    def draw(self, results: Sequence[Segmentation]) -> np.ndarray:
        """Return the (H, W) uint16 label image of a frame; where masks overlap the surest wins.

        Args:
            results: All of the frame, with masks of equal size; at least one.
        """
        assert results[0].mask is not None
        image = np.zeros(results[0].mask.shape, np.uint16)
        for result in sorted(results, key=lambda result: result.score):
            if result.state is State.FOUND and result.mask is not None:
                image[result.mask] = self.number(result)
        return image


def union(results: Sequence[Segmentation]) -> np.ndarray:
    """Return the (H, W) bool mask of everything that was found on a frame."""
    found = [result.mask for result in results
             if result.state is State.FOUND and result.mask is not None]
    if not found:
        assert results[0].mask is not None
        return np.zeros_like(results[0].mask)
    return found[0] if len(found) == 1 else np.logical_or.reduce(found)


def confidence(results: Sequence[Segmentation]) -> np.ndarray:
    """Return the (H, W) uint8 probability x 255 that a pixel is meant by any of the results."""
    highest = results[0].probability
    for result in results[1:]:
        assert highest is not None and result.probability is not None
        highest = np.maximum(highest, result.probability)
    assert highest is not None
    return (highest * 255.0).round().astype(np.uint8)
