"""One frame and one instruction through the model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from instructseg_ros.model.tasks import Task
from instructseg_ros.streaming.camera import Camera, LiveInstruction
from instructseg_ros.streaming.frame_buffer import Frame
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation, Source, State, Timing

if TYPE_CHECKING:
    import numpy as np

    from instructseg_ros.model.segmenter import Prediction

logger = logging.getLogger(__name__)


class Model(Protocol):
    """What the engine needs of a model; `instructseg_ros.model.segmenter.Segmenter` has it."""

    threshold: float

    def encode(self, image: np.ndarray) -> Any:
        """Return the vision tokens of an (H, W, 3) uint8 image."""

    def segment(self, image: np.ndarray, instruction: str, references: Sequence[Any] = (), *,
                task: Task = Task.AUTO, tokens: Any = None) -> Prediction:
        """Return the mask of what is meant, given the tokens of earlier frames, oldest first."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A frame to segment for each of `lives`, with the earlier frames to show beside it."""

    camera: Camera
    frame: Frame
    references: Sequence[Frame]
    lives: Sequence[LiveInstruction]
    dropped: int


def answer(model: Model, job: Job, instruction: Instruction, *,
           clock: Callable[[], int]) -> Segmentation:
    """Run the model; whatever it raises becomes a FAILED result."""
    started, begun = clock(), time.monotonic()

    def result(**outcome: Any) -> Segmentation:
        timing = Timing(captured=job.frame.stamp, received=job.frame.received, started=started,
                        finished=clock(), latency=time.monotonic() - begun)
        return Segmentation(
            instruction=instruction, camera=job.camera.name, header=job.frame.header,
            timing=timing, image=job.frame.image, reference_frames=len(job.references),
            dropped=job.dropped, **outcome)

    try:
        return result(**_infer(model, job, instruction))
    except Exception as error:
        logger.debug('the model failed', exc_info=True)
        return result(state=State.FAILED,
                      reason=f'the model failed: {type(error).__name__}: {error}')


def _infer(model: Model, job: Job, instruction: Instruction) -> dict[str, Any]:
    for frame in (*job.references, job.frame):
        if frame.tokens is None:
            frame.tokens = model.encode(frame.image)
    prediction = model.segment(
        job.frame.image, instruction.text, [frame.tokens for frame in job.references],
        task=instruction.task, tokens=job.frame.tokens)
    return outcome(prediction, model.threshold)


def outcome(prediction: Prediction, threshold: float) -> dict[str, Any]:
    """The fields of a `Segmentation` that a prediction decides."""
    reason = '' if prediction.found else _why_not(prediction, threshold)
    return {'state': State.FOUND if prediction.found else State.NOT_FOUND, 'reason': reason,
            'score': prediction.score, 'mask': prediction.mask,
            'probability': prediction.probability, 'source': Source.INFERRED}


def _why_not(prediction: Prediction, threshold: float) -> str:
    reason = (f'nothing in the image matches the instruction (score {prediction.score:.2f}, '
              f'threshold {threshold:.2f})')
    if prediction.unknown:
        words = ', '.join(f'"{word}"' for word in prediction.unknown[:3])
        reason += f'; the model does not know {words}, say it in other words'
    return reason
