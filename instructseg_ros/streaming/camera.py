"""What the engine keeps for one camera: its frames and the instructions that are live on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from instructseg_ros.streaming.frame_buffer import Frame, FrameBuffer, StaleFrameError
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation, State


@dataclass(kw_only=True, eq=False)
class LiveInstruction:
    """An instruction being followed on one camera; times in seconds of the steady clock."""

    instruction: Instruction
    given: float
    last_frame: Frame | None = None
    silence_told: bool = False

    @property
    def deadline(self) -> float:
        """When it expires, infinity without a lifetime."""
        lifetime = self.instruction.lifetime
        return float('inf') if lifetime is None else self.given + lifetime


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A frame that could not be read, and why."""

    reason: str
    header: Any


@dataclass(kw_only=True, eq=False)
class Camera:
    """One camera of the engine; not thread-safe, the engine holds the lock.

    Attributes:
        name: Name of the camera, comes back in every result.
        topic: What to call its stream in messages to people.
        buffer: Its recent frames.
        image_timeout: Seconds without an image after which live instructions are told.
        live: The instructions that are followed on it.
        dropped: Frames replaced unseen while an instruction was live.
        served: When it last got the model, seconds of the steady clock.
    """

    name: str
    topic: str
    buffer: FrameBuffer
    image_timeout: float
    live: list[LiveInstruction] = field(default_factory=list)
    dropped: int = 0
    served: float = float('-inf')
    last_arrival: float | None = None
    refusal: Refusal | None = None

    def add(self, frame: Frame) -> None:
        """Take a frame in; the one that waits is replaced and counted."""
        if self.buffer.add(frame) and self.live:
            self.dropped += 1
        self._note_arrival(frame.arrived)

    def refuse(self, refusal: Refusal, *, now: float) -> None:
        """Take note that an image came which could not be read."""
        self.refusal = refusal
        self._note_arrival(now)

    def pending(self, *, now: float, max_age: float) -> tuple[Frame, list[LiveInstruction]] | None:
        """Return the newest frame and the live instructions that have no result for it yet."""
        try:
            frame = self.buffer.newest(now=now, max_age=max_age)
        except StaleFrameError:
            return None
        waiting = [live for live in self.live if live.last_frame is not frame]
        return (frame, waiting) if waiting else None

    def next_event(self) -> float:
        """Return when `overdue` will next have something to say, seconds of the steady clock."""
        times = [live.deadline for live in self.live]
        times += [self._silent_at(live) for live in self.live if not live.silence_told]
        return min(times, default=float('inf'))

    def overdue(self, *, now: float) -> Iterator[Segmentation]:
        """End what has expired, answer refused frames, and tell of silence once."""
        for live in [live for live in self.live if live.deadline <= now]:
            yield self.end(live, f'its lifetime of {live.instruction.lifetime} s is over')
        refusal, self.refusal = self.refusal, None
        for live in self.live:
            if refusal:
                yield self._failed(live, refusal.reason, refusal.header)
            if not live.silence_told and self._silent_at(live) <= now:
                live.silence_told = True
                yield self._failed(live, self._describe_silence(now))

    def end(self, live: LiveInstruction, reason: str) -> Segmentation:
        """Stop following an instruction and return its last result."""
        self.live.remove(live)
        return Segmentation(
            instruction=live.instruction, state=State.EXPIRED, reason=reason, camera=self.name,
            dropped=self.dropped, final=True)

    def _note_arrival(self, now: float) -> None:
        self.last_arrival = now
        for live in self.live:
            live.silence_told = False

    def _silent_at(self, live: LiveInstruction) -> float:
        return max(live.given, self.last_arrival or live.given) + self.image_timeout

    def _describe_silence(self, now: float) -> str:
        if self.last_arrival is None:
            return (f'no image has arrived on {self.topic} within {self.image_timeout:.1f} s; '
                    f'check that the camera runs and publishes on this topic, and that its '
                    f"driver's transport is set up for images (config/fastdds.xml, see README)")
        return (f'no image for {now - self.last_arrival:.1f} s on {self.topic}; '
                f'check that the camera still runs')

    def _failed(self, live: LiveInstruction, reason: str, header: Any = None) -> Segmentation:
        return Segmentation(
            instruction=live.instruction, state=State.FAILED, reason=reason, camera=self.name,
            header=header, dropped=self.dropped)
