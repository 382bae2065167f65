"""Frames and instructions through the model, and its answers as segmentations."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from instructseg_ros.model.tasks import Task
from instructseg_ros.streaming.job import Job
from instructseg_ros.streaming.live_instruction import Conclusion, LiveInstruction
from instructseg_ros.streaming.segmentation import Segmentation, Source, State, Timing

if TYPE_CHECKING:
    import numpy as np

    from instructseg_ros.model.segmenter import Prediction

logger = logging.getLogger(__name__)


class Model(Protocol):
    """What the engine needs of a model; `instructseg_ros.model.segmenter.Segmenter` has it.

    What its stages return is kept by the engine and handed back, never looked into.
    """

    @property
    def threshold(self) -> float:
        """Score from which a target counts as found."""

    @property
    def release_threshold(self) -> float:
        """Score below which a target that was there counts as gone."""

    def read(self, text: str, task: Task) -> Any:
        """Return an instruction as the model reads it."""

    def encode(self, image: np.ndarray) -> Any:
        """Return the vision tokens of an (H, W, 3) uint8 image."""

    def reason(self, expressions: Sequence[Any], tokens: Any, references: Sequence[Any], *,
               keep_references: bool) -> Sequence[Any]:
        """Return what each instruction means on a frame, given the tokens of earlier frames."""

    def encode_pixels(self, image: np.ndarray, *, scale: float) -> Any:
        """Return the features of an image from which masks are decoded."""

    def decode(self, understandings: Sequence[Any], pixels: Any) -> Sequence[Prediction]:
        """Return the masks of what was meant."""

    def forget(self) -> None:
        """Give memory back."""


def answer(model: Model, job: Job, *, clock: Callable[[], int]) -> list[Segmentation]:
    """Answer the instructions of a job, in their order, in one batch.

    One that makes the model raise gets a FAILED result and does not keep the others from theirs.

    Raises:
        MemoryError: The device has no memory left.
    """
    healthy = [live for live in job.lives if not live.in_trouble]
    alone = [[live] for live in job.lives if live.in_trouble]
    results: dict[LiveInstruction, Segmentation] = {}
    for batch in [healthy, *alone] if healthy else alone:
        results |= _answer_batch(model, job.only(batch), clock)
    return [results[live] for live in job.lives]


def _answer_batch(
        model: Model, job: Job, clock: Callable[[], int]) -> dict[LiveInstruction, Segmentation]:
    started, begun = clock(), time.monotonic()

    def result(live: LiveInstruction, **outcome: Any) -> Segmentation:
        timing = Timing(captured=job.frame.stamp, received=job.frame.received, started=started,
                        finished=clock(), latency=time.monotonic() - begun)
        return Segmentation(
            instruction=live.instruction, camera=job.camera, header=job.frame.header,
            timing=timing, image=job.frame.image, dropped=job.dropped, **outcome)

    try:
        answers = {live: result(live, **_outcome(model, job, live, prediction))
                   for live, prediction in zip(job.lives, _infer(model, job), strict=True)}
    except MemoryError:
        raise
    except Exception as error:
        logger.debug('the model failed', exc_info=True)
        failure = f'the model failed: {type(error).__name__}: {error}'
    else:
        for live in answers:
            live.in_trouble = False
        return answers
    # Outside of the handler, which would keep all tensors of the attempt.
    if len(job.lives) > 1:
        return _answer_one_by_one(model, job, clock)
    [live] = job.lives
    live.in_trouble, live.conclusion = True, None
    return {live: result(live, state=State.FAILED, reason=failure)}


def _answer_one_by_one(
        model: Model, job: Job, clock: Callable[[], int]) -> dict[LiveInstruction, Segmentation]:
    results: dict[LiveInstruction, Segmentation] = {}
    for live in job.lives:
        results |= _answer_batch(model, job.only([live]), clock)
    return results


def _infer(model: Model, job: Job) -> Sequence[Prediction]:
    # First, because a GPU does it beside the rest.
    pixels = model.encode_pixels(job.frame.image, scale=job.scale)
    if job.reason:
        _reason(model, job)
    return model.decode(
        [live.conclusion.value for live in job.lives if live.conclusion is not None], pixels)


def _reason(model: Model, job: Job) -> None:
    for frame in (*job.references, job.frame):
        if frame.tokens is None:
            frame.tokens = model.encode(frame.image)
    for live in job.reason:
        if live.expression is None:
            live.expression = model.read(live.instruction.text, live.instruction.task)
    values = model.reason(
        [live.expression for live in job.reason], job.frame.tokens,
        [frame.tokens for frame in job.references], keep_references=job.keep_references)
    for live, value in zip(job.reason, values, strict=True):
        live.conclusion = Conclusion(
            value=value, stamp=job.frame.stamp, reference_frames=len(job.references))


def _outcome(model: Model, job: Job, live: LiveInstruction,
             prediction: Prediction) -> dict[str, Any]:
    assert live.conclusion is not None
    stamp = job.frame.stamp
    found = live.presence.update(
        prediction.mask, prediction.score, stamp=stamp, threshold=model.threshold,
        release=model.release_threshold)
    return {
        **outcome(prediction, found=found, threshold=model.threshold),
        'source': Source.INFERRED if live in job.reason else Source.PROPAGATED,
        'mask_age': (stamp - live.conclusion.stamp) / 1e9,
        'reference_frames': live.conclusion.reference_frames,
        'track_id': live.presence.track_id if found else 0,
    }


def outcome(prediction: Prediction, *, found: bool, threshold: float) -> dict[str, Any]:
    """The fields of a `Segmentation` that a prediction decides."""
    return {'state': State.FOUND if found else State.NOT_FOUND,
            'reason': '' if found else _why_not(prediction, threshold),
            'score': prediction.score, 'mask': prediction.mask,
            'probability': prediction.probability, 'source': Source.INFERRED}


def _why_not(prediction: Prediction, threshold: float) -> str:
    reason = (f'nothing in the image matches the instruction (score {prediction.score:.2f}, '
              f'threshold {threshold:.2f})')
    if prediction.unknown:
        words = ', '.join(f'"{word}"' for word in prediction.unknown[:3])
        reason += f'; the model does not know {words}, say it in other words'
    return reason
