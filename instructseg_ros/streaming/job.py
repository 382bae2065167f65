"""What the model has to do for a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from instructseg_ros.streaming.frame_buffer import Frame
from instructseg_ros.streaming.live_instruction import LiveInstruction


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
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
    lives: Sequence[LiveInstruction]
    reason: Sequence[LiveInstruction]
    references: Sequence[Frame] = ()
    keep_references: bool = False
    scale: float = 1.0
    dropped: int = 0

    def only(self, lives: Sequence[LiveInstruction]) -> Job:
        """Return the same work for some of the instructions."""
        return replace(self, lives=lives, reason=[live for live in lives if live in self.reason])
