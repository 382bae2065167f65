"""An instruction that is active on a camera, and the tracker of its target."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from instructseg_ros.model.frame_buffer import NANO, Frame
from instructseg_ros.model.query import Query
from instructseg_ros.streaming.instruction import Instruction

# Unique in the process, so that targets of different cameras are never confused.
_track_ids = itertools.count(1)
TRACK_MEMORY: Final = NANO  # ns for which a target may be out of sight and keep its id


@dataclass(kw_only=True, eq=False)
class TargetTracker:
    """Decides whether a target is present, with hysteresis, and numbers its tracks.

    Attributes:
        found: Whether the target was present on the last frame.
        track_id: Id of the track; it stays while masks overlap from one detection to the next.
    """

    found: bool = False
    track_id: int = 0
    _mask: np.ndarray | None = field(default=None, repr=False)
    _seen: int = 0

    def update(
        self, mask: np.ndarray, score: float, *, stamp: int, threshold: float, release: float
    ) -> bool:
        """Decide whether the target is present.

        Args:
            mask: (H, W) bool.
            score: 0..1.
            stamp: Time of capture of the frame, ns.
            threshold: Minimum score of a target that counts as found.
            release: Score below which a found target counts as lost.
        """
        was_found = self.found
        self.found = bool(score >= (release if was_found else threshold) and mask.any())
        if self.found:
            if not self._is_same(mask, stamp - self._seen, was_found=was_found):
                self.track_id = next(_track_ids)
            self._mask, self._seen = mask, stamp
        return self.found

    def _is_same(self, mask: np.ndarray, elapsed: int, *, was_found: bool) -> bool:
        if self._mask is None or self._mask.shape != mask.shape or elapsed < 0:
            return False
        return (was_found or elapsed <= TRACK_MEMORY) and bool((self._mask & mask).any())


@dataclass(frozen=True, kw_only=True)
class SuspendedInstruction:
    """An instruction that waits to be resumed, by this engine or by one with another model.

    It holds nothing that a model computed, so that the model can be freed meanwhile.

    Attributes:
        instruction: The instruction.
        lifetime: As in `ActiveInstruction`; the time of the suspension counts.
        deadline: As in `ActiveInstruction`.
        last_reason: As in `ActiveInstruction`.
    """

    instruction: Instruction
    lifetime: float | None
    deadline: float
    last_reason: str | None


class ActiveInstruction(Query):
    """The query of an instruction on one camera; times are seconds of the steady clock.

    Attributes:
        instruction: The instruction.
        given: Time at which the engine received it.
        lifetime: Seconds for which it stays active after it was given or renewed; None: no limit.
        deadline: Time at which it expires, infinity without a lifetime.
        last_frame: Newest frame that was or is being segmented for it.
        silence_reported: Whether missing images were reported for it.
        tracker: Tracker of its target.
        last_reason: Reason of its last result, '' if that was FOUND; None before the first.
    """

    def __init__(self, instruction: Instruction, *, given: float) -> None:
        """Create the query of an instruction."""
        super().__init__(text=instruction.text, task=instruction.task)
        self.instruction = instruction
        self.given = given
        self.last_frame: Frame | None = None
        self.silence_reported = False
        self.tracker = TargetTracker()
        self.last_reason: str | None = None
        self.renew(instruction.lifetime, now=given)

    @classmethod
    def resume(cls, suspended: SuspendedInstruction, *, now: float) -> ActiveInstruction:
        """Create the query of a suspended instruction, which keeps its deadline."""
        active = cls(suspended.instruction, given=now)
        active.lifetime, active.deadline = suspended.lifetime, suspended.deadline
        active.last_reason = suspended.last_reason
        return active

    def suspended(self, reason: str) -> SuspendedInstruction:
        """Return this instruction without its results, suspended for a reason."""
        return SuspendedInstruction(
            instruction=self.instruction,
            lifetime=self.lifetime,
            deadline=self.deadline,
            last_reason=reason,
        )

    def renew(self, lifetime: float | None, *, now: float) -> None:
        """Restart the lifetime, s; None: never expire."""
        self.lifetime = lifetime
        self.deadline = float('inf') if lifetime is None else now + lifetime
