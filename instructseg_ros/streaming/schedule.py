"""Schedules: how often the stages of the model run on a stream of frames."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

WIDER: Final = (2, 3, 5, 8)
SMALLER: Final = (0.875, 0.75)


class Schedule(enum.Enum):
    """What runs when; the values are those of the parameter `schedule`."""

    EXACT = 'exact'
    FIXED_REFERENCES = 'fixed_references'
    TWO_RATE = 'two_rate'
    AUTO = 'auto'


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often things are computed anew.

    Attributes:
        reason_every: Frames from one run of the language model to the next; in between, frames are
            decoded with what it concluded last.
        refresh_every: Frames for which reference frames stay as they are; 0: they are chosen for
            each frame.
        reference_frames: Most earlier frames shown to the model.
        scale: Of the side of the image that the mask branch sees.
    """

    reason_every: int = 1
    refresh_every: int = 0
    reference_frames: int = 0
    scale: float = 1.0

    def __str__(self) -> str:
        return (f'language model every {_frames(self.reason_every)}, '
                f'{self.reference_frames} reference frames, input size {self.scale:.0%}')


def paces(schedule: Schedule, *, reason_every: int, refresh_every: int,
          reference_frames: int) -> list[Pace]:
    """Return the paces that a schedule may take, the best first; only AUTO has more than one."""
    exact = Pace(reference_frames=reference_frames)
    if schedule is Schedule.FIXED_REFERENCES:
        return [replace(exact, refresh_every=refresh_every)]
    if schedule is Schedule.TWO_RATE:
        return [replace(exact, reason_every=reason_every)]
    return list(_ladder(exact)) if schedule is Schedule.AUTO else [exact]


def _ladder(pace: Pace) -> Iterator[Pace]:
    """Widen, then show fewer reference frames, then look at a smaller image."""
    yield pace
    for reason_every in WIDER:
        pace = replace(pace, reason_every=reason_every)
        yield pace
    while pace.reference_frames:
        pace = replace(pace, reference_frames=pace.reference_frames // 2)
        yield pace
    for scale in SMALLER:
        yield replace(pace, scale=scale)


def _frames(count: int) -> str:
    return 'frame' if count == 1 else f'{count} frames'
