"""Bounds and schedule of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from instructseg_ros.model.video_stream import ReferencePolicy
from instructseg_ros.streaming.schedule import RateController, Schedule, budgets

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Bounds and schedule of the engine.

    Attributes:
        topics: Name of each camera -> name of its stream in messages to users.
        reference_frames: Maximum number of earlier frames shown to the model with the newest.
        reference_stride: Seconds between them.
        max_reference_stride: Maximum number of seconds between them, see `ReferencePolicy`.
        max_age: Maximum time from the arrival of a frame to its segmentation, s.
        image_timeout: Seconds without an image after which active instructions get a FAILED result.
        max_instructions: Maximum number of active instructions.
        max_rate: Maximum number of frames of a camera that are segmented per second; 0: no limit.
            Instructions on demand are not limited.
        schedule: When each stage of the model runs.
        reason_every: TWO_RATE: frames from one run of the language model to the next.
        refresh_every: FIXED_REFERENCES: frames for which reference frames stay the same.
        scene_change: TWO_RATE, AUTO: share of the image whose change makes the language model run
            at once.
        target_rate: AUTO: target rate, frames per second.
        target_latency: AUTO: target latency of a frame in the model, s; 0: no limit.
    """

    topics: Mapping[str, str] = field(default_factory=lambda: {'': 'image'})
    reference_frames: int = 0
    reference_stride: float = 0.2
    max_reference_stride: float | None = None
    max_age: float = 1.0
    image_timeout: float = 3.0
    max_instructions: int = 8
    max_rate: float = 0.0
    schedule: Schedule = Schedule.EXACT
    reason_every: int = 3
    refresh_every: int = 10
    scene_change: float = 0.2
    target_rate: float = 10.0
    target_latency: float = 0.0

    @classmethod
    def from_model(cls, model: Segmenter, **others: Any) -> EngineSettings:
        """Return settings with the reference frames of a model's training.

        Args:
            model: The model.
            others: Further fields; they override those of the model.
        """
        defaults = {
            'reference_frames': model.reference_frames,
            'reference_stride': model.reference_stride,
            'max_reference_stride': model.max_reference_stride,
        }
        return cls(**defaults | others)

    @property
    def reference_policy(self) -> ReferencePolicy:
        """How reference frames are chosen in all streams."""
        return ReferencePolicy(
            count=self.reference_frames,
            stride=self.reference_stride,
            max_stride=self.max_reference_stride,
            scene_change=self.scene_change,
        )

    def make_rate_controller(self) -> RateController:
        """Create the controller that chooses the compute budget."""
        ladder = budgets(
            self.schedule,
            reason_every=self.reason_every,
            refresh_every=self.refresh_every,
            reference_frames=self.reference_frames,
        )
        return RateController(ladder, rate=self.target_rate, latency=self.target_latency)
