"""What the engine keeps for one camera: its frames and the instructions that are live on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from instructseg_ros.streaming.active_instruction import ActiveInstruction, FrameTask
from instructseg_ros.streaming.frame_buffer import Frame, FrameBuffer, StaleFrameError
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.planner import Planner
from instructseg_ros.streaming.schedule import ComputeBudget
from instructseg_ros.streaming.segmentation import Segmentation, State, Timing


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
        planner: Decides what runs on a frame.
        image_timeout: Seconds without an image after which live instructions are told.
        max_age: A frame that arrived longer ago is not worked on, s.
        live: The instructions that are followed on it.
        dropped: Frames replaced unseen while an instruction was live.
        served: When the last rate-limited turn began, s of the steady clock.
    """

    name: str
    topic: str
    buffer: FrameBuffer
    planner: Planner
    image_timeout: float
    max_age: float
    live: list[ActiveInstruction] = field(default_factory=list)
    dropped: int = 0
    served: float = float('-inf')
    last_arrival: float | None = None
    refusal: Refusal | None = None

    def add(self, frame: Frame) -> bool:
        """Take a frame in; the one that waits is replaced and counted.

        Returns:
            Whether an instruction had been told that no image comes.
        """
        if self.buffer.add(frame) and self.live:
            self.dropped += 1
        return self._note_arrival(frame.arrived)

    def refuse(self, refusal: Refusal, *, now: float) -> None:
        """Take note that an image came which could not be read."""
        self.refusal = refusal
        self._note_arrival(now)

    def next_job(
        self, *, now: float, budget: ComputeBudget, paused: bool = False, period: float = 0.0
    ) -> FrameTask | None:
        """Return the work on the newest frame, for the live instructions not answered on it yet.

        Args:
            now: Seconds of the steady clock.
            pace: How often what is computed anew.
            paused: Only the instructions on demand are answered.
            period: Minimum time between turns, s. A frame that comes before its turn waits, and
                a newer frame replaces it. An instruction on demand does not wait for the turn,
                and its frame is then answered for the others too.
        """
        try:
            frame = self.buffer.newest(now=now, max_age=self.max_age)
        except StaleFrameError:
            return None
        waiting = [live for live in self._answering(paused) if live.last_frame is not frame]
        asked = [live for live in waiting if live.instruction.on_demand]
        turn = self.served + period
        if not waiting or (not asked and now < turn):
            return None
        self.buffer.take()
        if len(asked) < len(waiting):
            # A turn that begins late does not delay the next ones, unless a whole one is lost.
            self.served = turn if turn <= now < turn + period else now
        for live in waiting:
            live.last_frame = frame
        job = self.planner.plan(self.name, frame, waiting, self.buffer, budget)
        return replace(job, dropped=self.dropped)

    def forget(self) -> None:
        """Let go of everything that the model made of frames and instructions."""
        self.buffer.forget_tokens()
        self.planner.forget()
        for live in self.live:
            live.expression = live.conclusion = None
            if live.last_frame is not None:  # it may have left the buffer
                live.last_frame.tokens = None

    def next_event(self, *, paused: bool = False) -> float:
        """Return when an instruction expires or must be told something, s of the steady clock."""
        times = [live.deadline for live in self.live]
        times += [
            self._silent_at(live) for live in self._answering(paused) if not live.silence_told
        ]
        return min(times, default=float('inf'))

    def overdue(
        self, *, now: float, paused: bool = False
    ) -> Iterator[tuple[ActiveInstruction, Segmentation]]:
        """Answer refused frames, and tell of silence once."""
        refusal, self.refusal = self.refusal, None
        for live in self._answering(paused):
            if refusal:
                yield live, self.fail(live, refusal.reason, refusal.header)
            if not live.silence_told and self._silent_at(live) <= now:
                live.silence_told = True
                yield live, self.fail(live, self._describe_silence(now))

    def drop(self, instruction: Instruction) -> bool:
        """Stop following an instruction; False if it was not followed here."""
        before = len(self.live)
        self.live = [live for live in self.live if live.instruction is not instruction]
        return len(self.live) < before

    def fail(
        self, live: ActiveInstruction, reason: str, header: Any = None, timing: Timing | None = None
    ) -> Segmentation:
        """Return the answer to an instruction for which nothing could be done."""
        return Segmentation(
            instruction=live.instruction,
            state=State.FAILED,
            reason=reason,
            camera=self.name,
            header=header,
            dropped=self.dropped,
            timing=timing,
        )

    def _answering(self, paused: bool) -> Sequence[ActiveInstruction]:
        return [live for live in self.live if live.instruction.on_demand or not paused]

    def _note_arrival(self, now: float) -> bool:
        self.last_arrival = now
        told = [live for live in self.live if live.silence_told]
        for live in told:
            live.silence_told = False
        return bool(told)

    def _silent_at(self, live: ActiveInstruction) -> float:
        return max(live.given, self.last_arrival or live.given) + self.image_timeout

    def _describe_silence(self, now: float) -> str:
        if self.last_arrival is None:
            return (
                f'no image has arrived on {self.topic} within {self.image_timeout:.1f} s; '
                f'check that the camera runs and publishes on this topic, and that its '
                f"driver's transport is set up for images (config/fastdds.xml, see README)"
            )
        return (
            f'no image for {now - self.last_arrival:.1f} s on {self.topic}; '
            f'check that the camera still runs'
        )
