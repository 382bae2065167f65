"""The answer to one instruction on one image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np

_SHOWN_WORDS: Final = 3
_SHOWN_LENGTH: Final = 40  # characters of a word


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """The answer to one instruction on one image.

    Args:
        mask: (H, W) bool at the image's size.
        probability: (H, W) float32 in 0..1.
        score: 0..1, the product of presence score and mask quality.
        found: the score reaches the threshold and the mask is not empty.
        unknown: words of the instruction that the model has never met.
        reason: why nothing was found, in words; '' where it was.
    """

    mask: np.ndarray
    probability: np.ndarray
    score: float
    found: bool
    unknown: tuple[str, ...] = ()
    reason: str = ''

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f'score must be in 0..1, got {self.score}')

    def __repr__(self) -> str:
        height, width = self.mask.shape
        reason = f', reason={self.reason!r}' if self.reason else ''
        return (
            f'Prediction(found={self.found}, score={self.score:.3g}, '
            f'{int(self.mask.sum())} of {width}x{height} pixels{reason})'
        )


def why_not_found(
    score: float, threshold: float, unknown: Sequence[str], *, is_empty: bool = False
) -> str:
    """Why an instruction was not found, in words.

    Args:
        score: its score.
        threshold: least score of what counts as found.
        unknown: words of it that the model has never met.
        is_empty: its mask has no pixel.
    """
    empty = ', an empty mask' if is_empty and score >= threshold else ''
    reason = (
        f'nothing in the image matches the instruction (score {score:.2f}, '
        f'threshold {threshold:.2f}{empty})'
    )
    if unknown:
        words = ', '.join(f'"{word[:_SHOWN_LENGTH]}"' for word in unknown[:_SHOWN_WORDS])
        reason += f'; unknown words: {words}; rephrase them'
    return reason
