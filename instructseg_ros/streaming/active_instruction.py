"""An instruction while it is followed on a camera, with its target tracker."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from instructseg_ros.streaming.frame_buffer import Frame
from instructseg_ros.streaming.instruction import Instruction

# Track ids are unique in a process, so that nobody takes two cameras' targets for one.
_ids = itertools.count(1)
MEMORY: Final = 1_000_000_000  # ns that a target may be out of sight and keep its id


@dataclass(kw_only=True, eq=False)
class TargetTracker:
    """What is remembered of the target of an instruction on a camera.

    Attributes:
        found: Whether it was there on the last frame.
        track_id: Its identity; stays while masks overlap from one time it is found to the next.
    """

    found: bool = False
    track_id: int = 0
    _mask: np.ndarray | None = field(default=None, repr=False)
    _seen: int = 0

    def update(
        self, mask: np.ndarray, score: float, *, stamp: int, threshold: float, release: float
    ) -> bool:
        """Decide whether the target is there.

        Args:
            mask: (H, W) bool.
            score: 0..1.
            stamp: When the frame was captured, ns.
            threshold: Score from which a target counts as found.
            release: Score below which one that was there counts as gone.
        """
        was_found = self.found
        self.found = bool(score >= (release if was_found else threshold) and mask.any())
        if self.found:
            if not self._is_same(mask, stamp - self._seen, was_found=was_found):
                self.track_id = next(_ids)
            self._mask, self._seen = mask, stamp
        return self.found

    def _is_same(self, mask: np.ndarray, elapsed: int, *, was_found: bool) -> bool:
        if self._mask is None or self._mask.shape != mask.shape or elapsed < 0:
            return False
        return (was_found or elapsed <= MEMORY) and bool((self._mask & mask).any())


@dataclass(frozen=True, kw_only=True, eq=False)
class Conclusion:
    """What the language model concluded about an instruction on a frame.

    Attributes:
        value: As the model gave it.
        stamp: When the frame was captured, ns.
        reference_frames: Number of earlier frames it saw beside it.
    """

    value: Any
    stamp: int
    reference_frames: int


@dataclass(kw_only=True, eq=False)
class ActiveInstruction:
    """An instruction being followed on one camera; times in seconds of the steady clock.

    Attributes:
        instruction: What to follow.
        given: When it was given.
        lifetime: Seconds for which it stays active since it was given or renewed; None: for ever.
        deadline: When it expires, infinity without a lifetime.
        last_frame: The newest frame it was answered on, or is being answered on.
        silence_told: It was told that no image comes.
        expression: The instruction as the model reads it, once it did.
        conclusion: The language model's last one, once there is one.
        presence: What is remembered of its target.
        in_trouble: It made the model fail last, and is kept apart from the others.
        last_reason: Reason of its last answer, '' when that was FOUND; None before the first.
    """

    instruction: Instruction
    given: float
    last_frame: Frame | None = None
    silence_told: bool = False
    expression: Any = None
    conclusion: Conclusion | None = None
    presence: TargetTracker = field(default_factory=TargetTracker)
    in_trouble: bool = False
    last_reason: str | None = None
    lifetime: float | None = field(init=False)
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.renew(self.instruction.lifetime, now=self.given)

    def renew(self, lifetime: float | None, *, now: float) -> None:
        """Start a lifetime, s, over; None: never expire."""
        self.lifetime = lifetime
        self.deadline = float('inf') if lifetime is None else now + lifetime


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameTask:
    """A frame to segment for some live instructions.

    Attributes:
        camera: Name of the camera.
        frame: The frame.
        lives: The instructions that are answered on it.
        reason: Those of them that the language model reads on this frame; the others are answered
            with what it concluded on an earlier one.
        references: The earlier frames to show beside it.
        keep_references: They will be shown on the next frames as well.
        scale: Of the side of the image that the mask branch sees.
        dropped: Frames of this camera that were replaced unseen so far.
    """

    camera: str
    frame: Frame
    lives: Sequence[ActiveInstruction]
    reason: Sequence[ActiveInstruction]
    references: Sequence[Frame] = ()
    keep_references: bool = False
    scale: float = 1.0
    dropped: int = 0

    def only(self, lives: Sequence[ActiveInstruction]) -> FrameTask:
        """Return the same work for some of the instructions."""
        return replace(self, lives=lives, reason=[live for live in lives if live in self.reason])
