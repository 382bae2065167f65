"""A prediction for a query, and how decoded masks and photographs become predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import torch

from instructseg_ros.model.composition import AllOf, Answer
from instructseg_ros.model.mask_decoder import best_mask
from instructseg_ros.model.noun_finder import NounFinder
from instructseg_ros.model.processor import InstructSegProcessor, as_pil
from instructseg_ros.model.query import AnyEmbedding, ImageInput, InstructionEmbedding

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
        reason: What was not found and why, and how misspelt words were read; '' for neither.
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


class Predictor:
    """Turns decoded masks, or a photograph, into predictions.

    Attributes:
        threshold: Minimum score of a target that counts as found.
        calibration: Factor and offset that turn a score's log-odds into those of a right answer.
        finder: Answers on photographs; None if the model has no list of nouns.
    """

    def __init__(
        self,
        processor: InstructSegProcessor,
        *,
        threshold: float,
        calibration: tuple[float, float],
        finder: NounFinder | None = None,
    ) -> None:
        """Create a predictor.

        Args:
            processor: Processor of the model.
            threshold, calibration, finder: See the attributes.
        """
        self.threshold = threshold
        self.finder = finder
        self._processor = processor
        self.calibration = calibration

    def of_masks(
        self,
        image: ImageInput,
        embeddings: Sequence[InstructionEmbedding],
        masks: torch.Tensor,
        scores: torch.Tensor,
        canvas: tuple[int, int],
    ) -> list[Prediction]:
        """Return the best of Q masks for each of K embeddings, resized to the image.

        Args:
            image: The image.
            embeddings: The K embeddings.
            masks: (K, Q, h, w) logits.
            scores: (K, Q) logits.
            canvas: (height, width) of the mask branch's input.
        """
        processor = self._processor
        height, width = (
            image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
        )

        def restore(logits: torch.Tensor) -> torch.Tensor:
            return processor.restore_masks(logits, height, width, canvas)

        predictions = []
        for embedding, mine, my_scores in zip(embeddings, masks, scores, strict=True):
            logits, score = best_mask(mine, my_scores, restore)
            sharp = processor.sharpen_mask(logits, image, masks.shape[-2:], canvas)
            # The score of a text that the model cannot understand means nothing.
            score = float(calibrated(score, *self.calibration)) if embedding.known else 0.0
            predictions.append(self._of_mask(embedding, sharp, score))
        return predictions

    def is_photograph(self, image: ImageInput) -> bool:
        """Return whether `of_photograph` answers for an image, instead of `of_masks`."""
        return self.finder is not None and self.finder.is_photograph(as_pil(image))

    def of_photograph(
        self, image: ImageInput, embeddings: Sequence[InstructionEmbedding]
    ) -> list[Prediction]:
        """Find the objects that instructions name."""
        assert self.finder is not None
        picture = as_pil(image)
        nouns = [each.noun for each in embeddings if each.noun]
        found = iter(self.finder.find(picture, nouns) if nouns else [])
        nothing = torch.full((picture.height, picture.width), -100.0)
        predictions = []
        for each in embeddings:
            if each.noun is None:
                prediction = self._of_mask(each, nothing, 0.0, is_nameless=True)
            else:
                unknown = (each.noun.excluding,) if each.noun.excluding else ()
                read = dataclasses.replace(each, unknown=unknown)
                prediction = self._of_mask(read, *next(found))
            predictions.append(prediction)
        return predictions

    def combined(self, embedding: AnyEmbedding, predictions: Iterator[Prediction]) -> Prediction:
        """Return the next prediction, or that of a query in parts from those of its parts."""
        if isinstance(embedding, InstructionEmbedding):
            return next(predictions)
        parts = [self.combined(part, predictions) for part in embedding.parts]
        answer = embedding.operation.combine(
            [Answer(probability=one.probability, score=one.score, found=one.found) for one in parts]
        )
        lost = [text for text, part in zip(embedding.texts, parts, strict=True) if not part.found]
        return self._explained(
            Prediction(
                mask=answer.mask,
                probability=answer.probability,
                score=answer.score,
                found=answer.found and answer.score >= self.threshold,
                unknown=embedding.unknown,
                repaired=embedding.repaired,
                is_nameless=all(part.is_nameless for part in parts),
                missing=tuple(lost) if isinstance(embedding.operation, AllOf) else (),
            )
        )

    def _of_mask(
        self,
        embedding: InstructionEmbedding,
        logits: torch.Tensor,
        score: float,
        *,
        is_nameless: bool = False,
    ) -> Prediction:
        mask = (logits > 0).cpu().numpy()
        return self._explained(
            Prediction(
                mask=mask,
                probability=logits.sigmoid().cpu().numpy(),
                score=score,
                found=score >= self.threshold and bool(mask.any()),
                unknown=embedding.unknown,
                repaired=embedding.repaired,
                is_nameless=is_nameless,
            )
        )

    def _explained(self, prediction: Prediction) -> Prediction:
        reason = explain(prediction, found=prediction.found, threshold=self.threshold)
        return dataclasses.replace(prediction, reason=reason)


def log_odds(scores: float | np.ndarray) -> np.ndarray:
    """Return the log-odds of scores from 0 to 1, limited to 14."""
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def calibrated(scores: float | np.ndarray, scale: float, offset: float) -> np.ndarray:
    """Turn scores into probabilities; 0 stays 0, and scale 1 with offset 0 changes nothing."""
    if (scale, offset) == (1.0, 0.0):
        return np.asarray(scores)
    return np.where(scores > 0, 1 / (1 + np.exp(-(scale * log_odds(scores) + offset))), 0.0)
