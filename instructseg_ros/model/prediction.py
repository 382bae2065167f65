"""A prediction for a query on an image, and its reason in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

_SHOWN_WORDS: Final = 3
_SHOWN_LENGTH: Final = 40  # characters of a word
_NAMELESS: Final = (
    'the image is a photograph, and the instruction names nothing that this model knows from '
    'photographs: name the object with another noun'
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """The model's output for one query on one image.

    Args:
        mask: (H, W) bool at the image's size.
        probability: (H, W) float32 in 0..1.
        score: 0..1, the product of presence score and mask quality.
        found: Whether the score reaches the threshold and the mask is not empty.
        unknown: Words of the instruction that are not in the model's vocabulary.
        repaired: Misspelt words of the instruction, and what each was read as.
        reason: Explains what was not found, and how misspelt words were read; '' for neither.
        centres: (N, 2) rows and columns of the objects that the model points at, in pixels; None if
            it points at none, as the released one.
        is_nameless: Whether nothing was found because the image is a photograph and the instruction
            names no object that the model knows from photographs.
        missing: Those parts of an instruction for several targets that were not found.
    """

    mask: np.ndarray
    probability: np.ndarray
    score: float
    found: bool
    unknown: tuple[str, ...] = ()
    repaired: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reason: str = ''
    centres: np.ndarray | None = None
    is_nameless: bool = False
    missing: tuple[str, ...] = ()

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


def explain(prediction: Prediction, *, found: bool, threshold: float) -> str:
    """Say in words what was not found and why, and how misspelt words were read; '' if neither."""
    reasons = []
    if not found and prediction.is_nameless:
        reasons = [_NAMELESS]
    elif not found:
        is_empty = not prediction.mask.any()
        reasons = [
            why_not_found(prediction.score, threshold, prediction.unknown, is_empty=is_empty)
        ]
    elif prediction.missing:
        texts = (f'"{text[:_SHOWN_LENGTH]}"' for text in prediction.missing[:_SHOWN_WORDS])
        reasons = [f'only a part was found: nothing matches {", ".join(texts)}']
    if prediction.repaired:
        pairs = (f'"{word}" as "{known}"' for word, known in prediction.repaired.items())
        reasons.append(f'read {", ".join(pairs)}')
    return '; '.join(reasons)


def log_odds(scores: float | np.ndarray) -> np.ndarray:
    """Return the log-odds of scores from 0 to 1, limited to 14."""
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def calibrated(scores: float | np.ndarray, scale: float, offset: float) -> np.ndarray:
    """Turn scores into probabilities; 0 stays 0, and scale 1 with offset 0 changes nothing."""
    if (scale, offset) == (1.0, 0.0):
        return np.asarray(scores)
    return np.where(scores > 0, 1 / (1 + np.exp(-(scale * log_odds(scores) + offset))), 0.0)
