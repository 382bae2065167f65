"""Frames and instructions through the model, and its answers as segmentations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from instructseg_ros.model.prediction import Prediction, why_not_found
from instructseg_ros.model.tasks import Task
from instructseg_ros.streaming.active_instruction import ActiveInstruction, Conclusion, FrameTask
from instructseg_ros.streaming.instruction import describe_error
from instructseg_ros.streaming.segmentation import Segmentation, Source, State
from instructseg_ros.streaming.statistics import Stopwatch

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

Results = dict[ActiveInstruction, Segmentation]


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

    def encode(self, images: Sequence[np.ndarray]) -> Sequence[Any]:
        """Return the vision tokens of each of some (H, W, 3) uint8 images."""

    def reason(
        self,
        expressions: Sequence[Sequence[Any]],
        tokens: Sequence[Any],
        references: Sequence[Sequence[Any]],
        *,
        keep_references: bool,
    ) -> Sequence[Sequence[Any]]:
        """Return what instructions mean on frames, given the tokens of frames before each."""

    def encode_pixels(self, images: Sequence[np.ndarray], *, scale: float) -> Any:
        """Return the features of images from which masks are decoded."""

    def decode(
        self, understandings: Sequence[Sequence[Any]], pixels: Any
    ) -> Sequence[Sequence[Prediction]]:
        """Return the masks of what was meant on each of the images."""

    def forget(self) -> None:
        """Give memory back."""


def answer(model: Model, jobs: Sequence[FrameTask], *, clock: Callable[[], int]) -> Results:
    """Answer the instructions of the jobs of some cameras in one batch.

    One that makes the model raise gets a FAILED result and does not keep the others from theirs.

    Raises:
        MemoryError: The device has no memory left.
    """
    healthy = [job.only([live for live in job.lives if not live.in_trouble]) for job in jobs]
    alone = [job.only([live]) for job in jobs for live in job.lives if live.in_trouble]
    results: Results = {}
    for batch in ([job for job in healthy if job.lives], *([job] for job in alone)):
        if batch:
            results |= _answer_batch(model, batch, clock)
    return results


def _answer_batch(model: Model, jobs: Sequence[FrameTask], clock: Callable[[], int]) -> Results:
    stopwatch = Stopwatch(clock)

    def result(job: FrameTask, live: ActiveInstruction, **outcome: Any) -> Segmentation:
        return Segmentation(
            instruction=live.instruction,
            camera=job.camera,
            header=job.frame.header,
            timing=stopwatch.timing(job.frame),
            image=job.frame.image,
            dropped=job.dropped,
            **outcome,
        )

    try:
        answers = {
            live: result(job, live, **_outcome(model, job, live, prediction))
            for job, predictions in zip(jobs, _infer(model, jobs), strict=True)
            for live, prediction in zip(job.lives, predictions, strict=True)
        }
    except MemoryError:
        raise
    except Exception as error:
        logger.debug('the model failed', exc_info=True)
        failure = f'the model failed: {type(error).__name__}: {describe_error(error)}'
    else:
        for live in answers:
            live.in_trouble = False
        return answers
    # Outside of the handler, which would keep all tensors of the attempt.
    alone = [job.only([live]) for job in jobs for live in job.lives]
    if len(alone) > 1:
        return {
            live: answer
            for job in alone
            for live, answer in _answer_batch(model, [job], clock).items()
        }
    [live] = alone[0].lives
    live.in_trouble, live.conclusion = True, None
    return {live: result(alone[0], live, state=State.FAILED, reason=failure)}


def _infer(model: Model, jobs: Sequence[FrameTask]) -> Sequence[Sequence[Prediction]]:
    # First, because a GPU does it beside the rest.
    pixels = model.encode_pixels([job.frame.image for job in jobs], scale=jobs[0].scale)
    if reading := [job for job in jobs if job.reason]:
        _encode(model, reading)
        _reason(model, reading)
    return model.decode(
        [
            [live.conclusion.value for live in job.lives if live.conclusion is not None]
            for job in jobs
        ],
        pixels,
    )


def _encode(model: Model, jobs: Sequence[FrameTask]) -> None:
    frames = [
        frame for job in jobs for frame in (*job.references, job.frame) if frame.tokens is None
    ]
    if frames:
        tokens = model.encode([frame.image for frame in frames])
        for frame, its_tokens in zip(frames, tokens, strict=True):
            frame.tokens = its_tokens


def _reason(model: Model, jobs: Sequence[FrameTask]) -> None:
    for live in (live for job in jobs for live in job.reason):
        if live.expression is None:
            live.expression = model.read(live.instruction.text, live.instruction.task)
    understood = model.reason(
        [[live.expression for live in job.reason] for job in jobs],
        [job.frame.tokens for job in jobs],
        [[frame.tokens for frame in job.references] for job in jobs],
        keep_references=jobs[0].keep_references,
    )
    for job, values in zip(jobs, understood, strict=True):
        for live, value in zip(job.reason, values, strict=True):
            live.conclusion = Conclusion(
                value=value, stamp=job.frame.stamp, reference_frames=len(job.references)
            )


def _outcome(
    model: Model, job: FrameTask, live: ActiveInstruction, prediction: Prediction
) -> dict[str, Any]:
    assert live.conclusion is not None
    stamp = job.frame.stamp
    found = live.presence.update(
        prediction.mask,
        prediction.score,
        stamp=stamp,
        threshold=model.threshold,
        release=model.release_threshold,
    )
    return {
        **outcome(prediction, found=found, threshold=model.threshold),
        'source': Source.INFERRED if live in job.reason else Source.PROPAGATED,
        'mask_age': (stamp - live.conclusion.stamp) / 1e9,
        'reference_frames': live.conclusion.reference_frames,
        'track_id': live.presence.track_id if found else 0,
    }


def outcome(prediction: Prediction, *, found: bool, threshold: float) -> dict[str, Any]:
    """The fields of a `Segmentation` that a prediction decides."""
    return {
        'state': State.FOUND if found else State.NOT_FOUND,
        'reason': ''
        if found
        else why_not_found(
            prediction.score, threshold, prediction.unknown, is_empty=not prediction.mask.any()
        ),
        'score': prediction.score,
        'mask': prediction.mask,
        'probability': prediction.probability,
        'source': Source.INFERRED,
    }
