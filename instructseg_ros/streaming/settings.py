"""Bounds and schedule of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from instructseg_ros.model.video_stream import ReferencePolicy
from instructseg_ros.streaming.schedule import RateController, Schedule, budgets


class ReferenceDefaults(Protocol):
    """The reference frames that a model was trained with."""

    reference_frames: int
    reference_stride: float
    max_reference_stride: float


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Bounds and schedule of the engine.

    Attributes:
        topics: Name of each camera -> what to call its stream in messages to people.
        reference_frames: Most earlier frames shown to the model beside the newest.
        reference_stride: Seconds between them.
        max_reference_stride: Most seconds between them, where the language model reads frames
            further apart than the stride; None: the stride.
        max_age: A frame that arrived longer ago is not segmented, s.
        image_timeout: Live instructions are told after so many seconds without an image.
        max_instructions: Most instructions that are live at once.
        max_rate: Most frames a second of a camera that are segmented, besides those that are
            for an instruction on demand; 0: no limit.
        schedule: What runs when.
        reason_every: TWO_RATE: frames from one run of the language model to the next.
        refresh_every: FIXED_REFERENCES: frames for which reference frames stay.
        scene_change: TWO_RATE, AUTO: share of the picture whose change makes the language model
            run at once.
        target_rate: AUTO: frames a second to hold.
        target_latency: AUTO: longest time of a frame in the model, s; 0: no limit.
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
    def from_model(cls, model: ReferenceDefaults, **others: Any) -> EngineSettings:
        """Return settings with the reference frames that a model wants.

        Args:
            model: The model.
            others: Further fields, and those that are to be otherwise than the model wants.
        """
        wanted = {
            'reference_frames': model.reference_frames,
            'reference_stride': model.reference_stride,
            'max_reference_stride': model.max_reference_stride,
        }
        return cls(**wanted | others)

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
