"""An instruction while it is followed on a camera."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from instructseg_ros.streaming.frame_buffer import Frame
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.presence import Presence


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
class LiveInstruction:
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
    presence: Presence = field(default_factory=Presence)
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
