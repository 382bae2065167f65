"""Prediction: the model's output for one query on one image, and why nothing was found."""

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
    """The model's output for one query on one image.

    Args:
        mask: (H, W) bool at the image's size.
        probability: (H, W) float32 in 0..1.
        score: 0..1, the product of presence score and mask quality.
        found: Whether the score reaches the threshold and the mask is not empty.
        unknown: Words of the instruction that are not in the model's vocabulary.
        reason: Why nothing was found; '' if the target was found.
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
    """Explain in words why a target was not found.

    Args:
        score: Score of the prediction.
        threshold: Minimum score of a target that counts as found.
        unknown: Words of the instruction that are not in the model's vocabulary.
        is_empty: Whether the mask has no pixel.
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
