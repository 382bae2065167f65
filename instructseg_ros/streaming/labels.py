"""Combines the masks of a frame: label images (one number per instruction), union, confidence."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from instructseg_ros.streaming.segmentation import Segmentation, State

BACKGROUND: Final = 0
MAX_NUMBER: Final = 255  # the largest that a mono8 label image can hold


class Labels:
    """Assigns a stable number from 1 to 255 to each text.

    Once all 255 are used, the least recently used number is reassigned. Numbers outlive their
    instructions, because consumers such as costmap layers remember a number for seconds before they
    look up its name. Equal texts share a number, because consumers also search by name.

    Attributes:
        revision: Number of changes of `names` so far.
    """

    def __init__(self) -> None:
        """Create an empty table."""
        self._numbers: OrderedDict[str, int] = OrderedDict()  # by text, the last used at the end
        self.revision = 0

    @property
    def names(self) -> dict[int, str]:
        """The text of each number; 0 is the background."""
        named = {number: text for text, number in self._numbers.items()}
        return {BACKGROUND: 'background', **dict(sorted(named.items()))}

    def number(self, result: Segmentation) -> int:
        """Return the number of a result's instruction; assign one if its text has none."""
        text = result.instruction.text
        if text not in self._numbers:
            self._numbers[text] = self._take_number()
            self.revision += 1
        self._numbers.move_to_end(text)
        return self._numbers[text]

    def _take_number(self) -> int:
        if len(self._numbers) < MAX_NUMBER:
            return len(self._numbers) + 1
        _, number = self._numbers.popitem(last=False)
        return number

    def draw(self, results: Sequence[Segmentation]) -> np.ndarray:
        """Draw the (H, W) uint16 label image of a frame; in overlaps the highest score wins.

        Args:
            results: All results of the frame, at least one, with masks of equal size.
        """
        assert results[0].mask is not None
        image = np.zeros(results[0].mask.shape, np.uint16)
        for result in sorted(results, key=lambda result: result.score):
            if result.state is State.FOUND and result.mask is not None:
                image[result.mask] = self.number(result)
        return image


def union(results: Sequence[Segmentation]) -> np.ndarray:
    """Return the (H, W) bool union of all masks found on a frame."""
    found = [
        result.mask for result in results if result.state is State.FOUND and result.mask is not None
    ]
    if not found:
        assert results[0].mask is not None
        return np.zeros_like(results[0].mask)
    return found[0] if len(found) == 1 else np.logical_or.reduce(found)


def confidence(results: Sequence[Segmentation]) -> np.ndarray:
    """Return each pixel's highest probability among the results, times 255, as (H, W) uint8."""
    highest = results[0].probability
    for result in results[1:]:
        assert highest is not None and result.probability is not None
        highest = np.maximum(highest, result.probability)
    assert highest is not None
    return (highest * 255.0).round().astype(np.uint8)
