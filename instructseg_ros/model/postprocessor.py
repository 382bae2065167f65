"""Turns decoded masks and photographs into predictions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from instructseg_ros.model.composition import AllOf, Answer
from instructseg_ros.model.mask_decoder import best_mask
from instructseg_ros.model.noun_finder import NounFinder
from instructseg_ros.model.noun_query import NounQuery
from instructseg_ros.model.prediction import Prediction, calibrated, explain
from instructseg_ros.model.processor import InstructSegProcessor, as_pil
from instructseg_ros.model.query import AnyEmbedding, ImageInput, InstructionEmbedding
from instructseg_ros.model.taught_finder import TaughtFinder

_POINTED: Final = -1.0  # logit from which a cell counts as pointed at


class Postprocessor:
    """Turns decoded masks, or a photograph, into predictions.

    Attributes:
        threshold: Minimum score of a target that counts as found.
        calibration: Factor and offset that turn a score's log-odds into those of a right answer.
        release: Share of the threshold from which a target counts that was found before.
        finder: Answers on photographs; None if the model has no list of nouns.
        taught: Finds objects that the model was taught; None if it was taught nothing.
    """

    def __init__(
        self,
        processor: InstructSegProcessor,
        *,
        threshold: float,
        calibration: tuple[float, float],
        release: float = 1.0,
        finder: NounFinder | None = None,
        taught: TaughtFinder | None = None,
    ) -> None:
        """Create a post-processor.

        Args:
            processor: Processor of the model.
            threshold, calibration, release, finder, taught: See the attributes.
        """
        self.threshold = threshold
        self.release = release
        self.finder = finder
        self.taught = taught
        self._processor = processor
        self.calibration = calibration

    def of_masks(
        self,
        image: ImageInput,
        embeddings: Sequence[InstructionEmbedding],
        masks: torch.Tensor,
        scores: torch.Tensor,
        canvas: tuple[int, int],
        pointers: torch.Tensor | None = None,
    ) -> list[Prediction]:
        """Return the best of Q masks for each of K embeddings, resized to the image.

        Args:
            image: The image.
            embeddings: The K embeddings.
            masks: (K, Q, h, w) logits.
            scores: (K, Q) logits.
            canvas: (height, width) of the mask branch's input.
            pointers: (K, Q, V) logits of the image cells that each mask points at, if any.
        """
        processor = self._processor
        height, width = (
            image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
        )

        def restore(logits: torch.Tensor) -> torch.Tensor:
            return processor.restore_masks(logits, height, width, canvas)

        predictions = []
        for row, (embedding, mine, my_scores) in enumerate(
            zip(embeddings, masks, scores, strict=True)
        ):
            # The release is compared with the authors' code; refined masks differ from it anyway.
            quick = processor.config.guided_filter
            logits, score = best_mask(mine, my_scores, restore, restore_one=quick)
            centres = None
            if pointers is not None:
                centres = _centres(pointers[row, my_scores.argmax()], height, width)
            sharp = processor.sharpen_mask(logits, image, masks.shape[-2:], canvas)
            # The score of a text that the model cannot understand means nothing.
            score = float(calibrated(score, *self.calibration)) if embedding.known else 0.0
            predictions.append(self._of_mask(embedding, sharp, score, centres=centres))
        return self._with_taught(image, embeddings, predictions)

    def _with_taught(
        self,
        image: ImageInput,
        embeddings: Sequence[InstructionEmbedding],
        predictions: list[Prediction],
    ) -> list[Prediction]:
        """Replace the predictions of taught nouns, which show every object, by those they mean."""
        rows = [row for row, each in enumerate(embeddings) if each.noun and each.noun.taught]
        if self.taught is None or not rows:
            return predictions
        every = predictions[rows[0]]
        objects = Answer(
            probability=every.probability, score=1, found=True, present=True, centres=every.centres
        )
        nouns = [each.noun for each in embeddings if each.noun and each.noun.taught]
        chosen = self.taught.choose(as_pil(image), objects.objects(), nouns)
        for row, (masks, score) in zip(rows, chosen, strict=True):
            answer = objects.only(masks, score)
            predictions[row] = self._explained(
                dataclasses.replace(
                    predictions[row],
                    mask=answer.mask,
                    probability=answer.probability,
                    score=score,
                    found=score >= self.threshold and bool(masks),
                    centres=np.array([_middle(each) for each in masks]).reshape(-1, 2),
                )
            )
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
        found = self._find_nouns(picture, nouns)
        nothing = torch.full((picture.height, picture.width), -100.0)
        predictions = []
        for each in embeddings:
            if each.noun is None:
                prediction = self._of_mask(each, nothing, 0.0, is_nameless=True)
            else:
                unknown = (each.noun.unread,) if each.noun.unread else ()
                read = dataclasses.replace(each, unknown=unknown)
                prediction = self._of_mask(read, *next(found))
            predictions.append(prediction)
        return predictions

    def _find_nouns(
        self, picture: Image.Image, nouns: Sequence[NounQuery]
    ) -> Iterator[tuple[torch.Tensor, float]]:
        """Yield (H, W) logits and the score of each noun, taught or not, on a photograph."""
        taught = [noun for noun in nouns if noun.taught]
        others = [noun for noun in nouns if not noun.taught]
        found = iter(self.taught.find(picture, taught) if self.taught and taught else [])
        named = iter(self.finder.find(picture, others) if self.finder and others else [])
        return (next(found if noun.taught else named) for noun in nouns)

    def combined(self, embedding: AnyEmbedding, predictions: Iterator[Prediction]) -> Prediction:
        """Return the prediction for an embedding; combine those of its parts if it has any.

        Args:
            embedding: The embedding of a query.
            predictions: Predictions for its `simple` embeddings, and those of later queries.
        """
        if isinstance(embedding, InstructionEmbedding):
            return next(predictions)
        parts = [self.combined(part, predictions) for part in embedding.parts]
        answer = embedding.operation.combine(
            [
                Answer(
                    probability=one.probability,
                    score=one.score,
                    found=one.found,
                    present=one.score >= self.release * self.threshold,
                    centres=one.centres,
                )
                for one in parts
            ]
        )
        missing: list[str] = []
        if isinstance(embedding.operation, AllOf):
            for text, part in zip(embedding.texts, parts, strict=True):
                missing += part.missing or ([] if part.found else [text])
        return self._explained(
            Prediction(
                mask=answer.mask,
                probability=answer.probability,
                score=answer.score,
                found=answer.score >= self.threshold and bool(answer.mask.any()),
                unknown=tuple(dict.fromkeys(word for part in parts for word in part.unknown)),
                repaired=embedding.repaired,
                is_nameless=any(part.is_nameless for part in parts),
                missing=tuple(missing),
            )
        )

    def _of_mask(
        self,
        embedding: InstructionEmbedding,
        logits: torch.Tensor,
        score: float,
        *,
        centres: np.ndarray | None = None,
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
                centres=centres,
                is_nameless=is_nameless,
            )
        )

    def _explained(self, prediction: Prediction) -> Prediction:
        reason = explain(prediction, found=prediction.found, threshold=self.threshold)
        return dataclasses.replace(prediction, reason=reason)


def _middle(mask: np.ndarray) -> np.ndarray:
    """Return the (row, column) of the pixel of a mask that is closest to its mean."""
    pixels = np.argwhere(mask)
    return np.asarray(pixels[np.abs(pixels - pixels.mean(0)).sum(1).argmin()])


def _centres(pointer: torch.Tensor, height: int, width: int) -> np.ndarray | None:
    """Return (N, 2) rows and columns of the objects that (V,) logits of cells point at, if any.

    Each is a cell that scores higher than the cells around it.
    """
    side = math.isqrt(len(pointer))
    cells = pointer.float().reshape(1, side, side)
    peaks = (cells == functional.max_pool2d(cells, 3, 1, 1)) & (cells > _POINTED)
    places = (peaks[0].nonzero().cpu().numpy() + 0.5) / side
    return np.asarray(places * (height, width)) if len(places) else None
