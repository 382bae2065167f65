"""Schedules of the model stages, the controller that adapts them, and the engine's settings."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from instructseg_ros.model.video_stream import ComputeBudget, ReferencePolicy

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter


# Steps of AUTO towards less work.
REASON_INTERVALS: Final = (2, 3, 5, 8)  # frames
INPUT_SCALES: Final = (0.875, 0.75)


class Schedule(enum.Enum):
    """Schedules of the stages; the values equal those of the parameter `schedule`."""

    EXACT = 'exact'
    FIXED_REFERENCES = 'fixed_references'
    TWO_RATE = 'two_rate'
    AUTO = 'auto'


def budgets(
    schedule: Schedule, *, reason_every: int, refresh_every: int, reference_frames: int
) -> list[ComputeBudget]:
    """Return the budgets that a schedule may use, the best first; only AUTO has several."""
    exact = ComputeBudget(reference_frames=reference_frames)
    if schedule is Schedule.FIXED_REFERENCES:
        return [replace(exact, refresh_every=refresh_every)]
    if schedule is Schedule.TWO_RATE:
        return [replace(exact, reason_every=reason_every)]
    return list(_ladder(exact)) if schedule is Schedule.AUTO else [exact]


def _ladder(budget: ComputeBudget) -> Iterator[ComputeBudget]:
    """Yield budgets with fewer language model runs, then fewer references, then smaller input."""
    yield budget
    for reason_every in REASON_INTERVALS:
        budget = replace(budget, reason_every=reason_every)
        yield budget
    while budget.reference_frames:
        budget = replace(budget, reference_frames=budget.reference_frames // 2)
        yield budget
    for scale in INPUT_SCALES:
        yield replace(budget, scale=scale)


WINDOW: Final = 8  # frames over which the load is averaged
MAX_IDLE_LOAD: Final = 0.6  # below this load a better budget is tried
MAX_PATIENCE: Final = 64  # windows to wait before a better budget is tried


class RateController:
    """Reduces the compute budget while the model is too slow, and restores it afterwards.

    After a step up that had to be undone, it waits twice as long before the next one.
    """

    def __init__(
        self, ladder: Sequence[ComputeBudget], *, rate: float, latency: float = 0.0
    ) -> None:
        """Start with the best budget.

        Args:
            ladder: The budgets, the best first.
            rate: Target rate, frames per second.
            latency: Target latency of a frame in the model, s; 0: no limit.
        """
        self._ladder = ladder
        self._rate = rate
        self._latency = latency
        self._level = 0
        self._seconds: list[float] = []
        self._calm = 0
        self._patience = 1
        self._climbed = False

    @property
    def budget(self) -> ComputeBudget:
        """The current budget."""
        return self._ladder[self._level]

    def note(self, seconds: float, *, cameras: int = 1) -> str:
        """Record a frame's time; return a description of the new budget, '' if it is unchanged.

        Args:
            seconds: Time of the frame in the model.
            cameras: Number of cameras that share the model.
        """
        self._seconds.append(seconds)
        if len(self._seconds) < max(WINDOW, 2 * self.budget.reason_every):
            return ''
        load = self._load(cameras)
        self._seconds.clear()
        return self._weigh(load)

    def _load(self, cameras: int) -> float:
        """Return the share of the available time that is used; at 1, the target is just reached."""
        load = sum(self._seconds) / len(self._seconds) * self._rate * cameras
        if self._latency:
            load = max(load, max(self._seconds) / self._latency)
        return load

    def _weigh(self, load: float) -> str:
        if load > 1.0:
            if self._climbed:
                self._patience = min(2 * self._patience, MAX_PATIENCE)
            self._calm = 0
            return self._step(1, load) if self._level + 1 < len(self._ladder) else ''
        self._calm = self._calm + 1 if load < MAX_IDLE_LOAD else 0
        self._climbed = False
        if self._level and self._calm >= self._patience:
            return self._step(-1, load)
        return ''

    def _step(self, direction: int, load: float) -> str:
        self._level += direction
        self._calm = 0
        self._climbed = direction < 0
        change = 'slower than its target' if direction > 0 else 'faster than its target'
        return f'{change} ({load:.0%} of the available time): now {self.budget}'


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Bounds and schedule of the engine.

    Attributes:
        topics: Name of each camera -> name of its stream in messages to users.
        reference_frames: Maximum number of earlier frames that the model receives with the newest.
        reference_stride: Seconds between reference frames.
        max_reference_stride: Maximum seconds between reference frames, see `ReferencePolicy`.
        max_age: Maximum time from the arrival of a frame to its segmentation, s.
        image_timeout: Seconds without an image after which active instructions get a FAILED result.
        max_instructions: Maximum number of active instructions.
        max_rate: Maximum number of frames of a camera that are segmented per second; 0: no limit.
            Instructions on demand are not limited.
        schedule: When each stage of the model runs.
        reason_every: TWO_RATE: frames from one run of the language model to the next.
        refresh_every: FIXED_REFERENCES: frames for which reference frames stay the same.
        scene_change: TWO_RATE, AUTO: share of the image that must change to run the language model
            early.
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
        """Return settings with the reference frames that a model was trained with.

        Args:
            model: The model.
            others: Further fields, which override those of the model.
        """
        defaults = {
            'reference_frames': model.reference_frames,
            'reference_stride': model.reference_stride,
            'max_reference_stride': model.max_reference_stride,
        }
        return cls(**defaults | others)

    @property
    def reference_policy(self) -> ReferencePolicy:
        """Policy for reference frames in all streams."""
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
