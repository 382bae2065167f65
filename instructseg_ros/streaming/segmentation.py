"""Segmentation: the result of one instruction on one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from instructseg_ros.model.prediction import Prediction, explain
from instructseg_ros.model.tasks import NamedInt
from instructseg_ros.streaming.instruction import Instruction


class State(NamedInt):
    """Outcome of an instruction, with the values of Segmentation.msg."""

    UNKNOWN = 0
    FOUND = 1
    NOT_FOUND = 2
    REJECTED = 3
    EXPIRED = 4
    FAILED = 5


class Source(NamedInt):
    """Origin of a mask, with the values of Segmentation.msg."""

    NONE = 0
    INFERRED = 1
    PROPAGATED = 2


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Times of a result's frame, in nanoseconds of the engine's clock, in increasing order.

    That clock may follow simulated time, and may jump.

    Attributes:
        captured: Stamp by the camera; time of arrival if the camera gave none.
        received: Arrival at the engine.
        started: Start of the model.
        finished: End of the model.
        latency: Time in the model, s of a steady clock.
    """

    captured: int
    received: int
    started: int
    finished: int
    latency: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """Result of one instruction, on one frame if there is one.

    Attributes:
        instruction: The instruction.
        state: The outcome; the mask shows the target only if this is FOUND.
        reason: The outcome in words; for FOUND only how misspelt words were read, if there are any.
        camera: Name of the frame's camera, or ''.
        header: The frame's header as the caller passed it, or None without a frame.
        image: (H, W, 3) uint8 RGB, the frame, or None if nothing was segmented.
        score: Confidence that the target is present, 0..1.
        mask: (H, W) bool, or None if nothing was segmented.
        probability: (H, W) float32 0..1, or None if nothing was segmented.
        source: Origin of the mask.
        mask_age: Seconds from the capture of the frame on which the language model last ran to that
            of this frame; 0 unless PROPAGATED.
        track_id: Id of the track, the same while the target's masks overlap from frame to frame; 0
            unless FOUND.
        reference_frames: Number of earlier frames that the model received with this one.
        dropped: Number of frames of this camera so far that were replaced before segmentation.
        timing: Times of the frame, or None without a frame.
        final: Whether this is the last result of the instruction.
    """

    instruction: Instruction
    state: State
    reason: str = ''
    camera: str = ''
    header: Any = None
    image: np.ndarray | None = None
    score: float = 0.0
    mask: np.ndarray | None = None
    probability: np.ndarray | None = None
    source: Source = Source.NONE
    mask_age: float = 0.0
    track_id: int = 0
    reference_frames: int = 0
    dropped: int = 0
    timing: Timing | None = None
    final: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f'score must be in 0..1, got {self.score}')
        if self.mask is not None and (self.mask.ndim != 2 or self.mask.dtype != bool):
            raise ValueError(f'mask must be (H, W) bool, got {self.mask.shape} {self.mask.dtype}')
        if self.state is State.FOUND and (self.mask is None or not self.mask.any()):
            raise ValueError('FOUND needs a mask with at least one pixel')
        if self.state is not State.FOUND and not self.reason:
            raise ValueError(f'{self.state.name} needs a reason')

    def __repr__(self) -> str:
        fields = [f'{self.instruction.text!r}', f'{self.state}', f'score={self.score:.3g}']
        if self.mask is not None:
            height, width = self.mask.shape
            fields.append(f'{self.pixels} of {width}x{height} pixels')
        fields += [
            f'{name}={value!r}'
            for name, value in (
                ('camera', self.camera),
                ('track_id', self.track_id),
                ('reason', self.reason),
                ('final', self.final),
            )
            if value
        ]
        return f'Segmentation({", ".join(fields)})'

    @property
    def found(self) -> bool:
        """Return whether the target was found."""
        return self.state is State.FOUND

    @property
    def region(self) -> tuple[int, int, int, int]:
        """Bounding box (x, y, width, height) of the mask in pixels; zeros when there is none."""
        if self.state is not State.FOUND or self.mask is None:
            return (0, 0, 0, 0)
        columns = self.mask.any(axis=0).nonzero()[0]
        rows = self.mask.any(axis=1).nonzero()[0]
        left, top = int(columns[0]), int(rows[0])
        return (left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)

    @property
    def pixels(self) -> int:
        """Number of pixels of the mask."""
        if self.state is not State.FOUND or self.mask is None:
            return 0
        return int(np.count_nonzero(self.mask))


def prediction_fields(prediction: Prediction, *, found: bool, threshold: float) -> dict[str, Any]:
    """Return the fields of a `Segmentation` that a prediction decides."""
    return {
        'state': State.FOUND if found else State.NOT_FOUND,
        'reason': explain(prediction, found=found, threshold=threshold),
        'score': prediction.score,
        'mask': prediction.mask,
        'probability': prediction.probability,
        'source': Source.INFERRED,
    }
