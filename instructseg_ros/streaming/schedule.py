"""Schedules: how often each stage of the model runs, and the control of that rate."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from instructseg_ros.model.video_stream import ComputeBudget

WIDER: Final = (2, 3, 5, 8)
SMALLER: Final = (0.875, 0.75)


class Schedule(enum.Enum):
    """What runs when; the values are those of the parameter `schedule`."""

    EXACT = 'exact'
    FIXED_REFERENCES = 'fixed_references'
    TWO_RATE = 'two_rate'
    AUTO = 'auto'


def budgets(
    schedule: Schedule, *, reason_every: int, refresh_every: int, reference_frames: int
) -> list[ComputeBudget]:
    """Return the paces that a schedule may take, the best first; only AUTO has more than one."""
    exact = ComputeBudget(reference_frames=reference_frames)
    if schedule is Schedule.FIXED_REFERENCES:
        return [replace(exact, refresh_every=refresh_every)]
    if schedule is Schedule.TWO_RATE:
        return [replace(exact, reason_every=reason_every)]
    return list(_ladder(exact)) if schedule is Schedule.AUTO else [exact]


def _ladder(budget: ComputeBudget) -> Iterator[ComputeBudget]:
    """Widen, then show fewer reference frames, then look at a smaller image."""
    yield budget
    for reason_every in WIDER:
        budget = replace(budget, reason_every=reason_every)
        yield budget
    while budget.reference_frames:
        budget = replace(budget, reference_frames=budget.reference_frames // 2)
        yield budget
    for scale in SMALLER:
        yield replace(budget, scale=scale)


WINDOW: Final = 8
ROOM: Final = 0.6
LONGEST_PATIENCE: Final = 64


class RateController:
    """Steps down a ladder of paces while the model is too slow, and up when there is room.

    A step up that had to be taken back makes it wait twice as long before the next.
    """

    def __init__(
        self, ladder: Sequence[ComputeBudget], *, rate: float, latency: float = 0.0
    ) -> None:
        """Start with the best pace.

        Args:
            ladder: The paces, the best first; a ladder of one is never left.
            rate: Frames a second to hold.
            latency: Longest time of a frame in the model, s; 0: no limit.
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
        """The pace to take now."""
        return self._ladder[self._level]

    def note(self, seconds: float, *, cameras: int = 1) -> str:
        """Take note of the time that a frame took; return what was changed, '' if nothing.

        Args:
            seconds: In the model.
            cameras: That share the model.
        """
        self._seconds.append(seconds)
        if len(self._seconds) < max(WINDOW, 2 * self.budget.reason_every):
            return ''
        load = self._load(cameras)
        self._seconds.clear()
        return self._weigh(load)

    def _load(self, cameras: int) -> float:
        """Share of the time that there is, 1 when the target is just held."""
        load = sum(self._seconds) / len(self._seconds) * self._rate * cameras
        if self._latency:
            load = max(load, max(self._seconds) / self._latency)
        return load

    def _weigh(self, load: float) -> str:
        if load > 1.0:
            if self._climbed:
                self._patience = min(2 * self._patience, LONGEST_PATIENCE)
            self._calm = 0
            return self._step(1, load) if self._level + 1 < len(self._ladder) else ''
        self._calm = self._calm + 1 if load < ROOM else 0
        self._climbed = False
        if self._level and self._calm >= self._patience:
            return self._step(-1, load)
        return ''

    def _step(self, direction: int, load: float) -> str:
        self._level += direction
        self._calm = 0
        self._climbed = direction < 0
        change = 'slower than its target' if direction > 0 else 'room to spare'
        return f'{change} ({load:.0%} of the time that there is): now {self.budget}'
