"""Decides for each frame of a camera what runs: the schedule at work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instructseg_ros.streaming.frame_buffer import Frame, FrameBuffer
from instructseg_ros.streaming.job import Job
from instructseg_ros.streaming.live_instruction import LiveInstruction
from instructseg_ros.streaming.scene_change import changed_share, thumbnail
from instructseg_ros.streaming.schedule import Pace


class Planner:
    """Keeps what the plan of a frame depends on; not thread-safe."""

    def __init__(self, *, stride: int, scene_change: float) -> None:
        """Begin with nothing planned.

        Args:
            stride: Between reference frames, ns.
            scene_change: Share of the picture whose change makes the language model run.
        """
        self._stride = stride
        self._scene_change = scene_change
        self._kept: Sequence[Frame] = ()
        self._kept_for = 0
        self._since_reasoning = 0
        self._reasoned_on: np.ndarray | None = None
        self._last_stamp = 0

    def plan(self, camera: str, frame: Frame, lives: Sequence[LiveInstruction],
             buffer: FrameBuffer, pace: Pace) -> Job:
        """Return what to do for some instructions on the newest frame of a camera."""
        if frame.stamp < self._last_stamp:  # time jumped back: a recording starts over
            self._kept, self._since_reasoning = (), pace.reason_every
        self._last_stamp = frame.stamp
        self._since_reasoning += 1
        reason = self._to_reason(frame, lives, pace)
        return Job(
            camera=camera, frame=frame, lives=lives, reason=reason,
            references=self._references(frame, buffer, pace) if reason else (),
            keep_references=pace.refresh_every > 0, scale=pace.scale)

    def forget(self) -> None:
        """Let go of the reference frames and of the last conclusions' time."""
        self._kept = ()

    def _to_reason(self, frame: Frame, lives: Sequence[LiveInstruction],
                   pace: Pace) -> Sequence[LiveInstruction]:
        """Return all of the instructions when it is time, else those that are new."""
        if pace.reason_every == 1:
            return lives
        seen = thumbnail(frame.image)
        if self._since_reasoning >= pace.reason_every or self._has_changed(seen):
            self._since_reasoning = 0
            self._reasoned_on = seen
            return lives
        return [live for live in lives if live.conclusion is None]

    def _has_changed(self, seen: np.ndarray) -> bool:
        if self._reasoned_on is None:
            return True
        return changed_share(self._reasoned_on, seen) > self._scene_change

    def _references(self, frame: Frame, buffer: FrameBuffer, pace: Pace) -> Sequence[Frame]:
        self._kept_for += 1
        if not self._keeps(pace):
            self._kept = buffer.references(
                frame, count=pace.reference_frames, stride=self._stride)
            self._kept_for = 0
        return self._kept

    def _keeps(self, pace: Pace) -> bool:
        """Whether the references stay: once there are as many as wanted, and for some frames."""
        return len(self._kept) == pace.reference_frames and self._kept_for < pace.refresh_every
