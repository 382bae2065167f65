"""Decides what the model computes for each frame of a camera."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from instructseg_ros.streaming.active_instruction import ActiveInstruction, FrameTask
from instructseg_ros.streaming.frame_buffer import Frame, FrameBuffer
from instructseg_ros.streaming.schedule import ComputeBudget

COLUMNS: Final = 64
CLEAR: Final = 24  # of 255, above a camera's noise


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> its pixels on a coarse grid, (h, w, 3) int16."""
    step = max(1, image.shape[1] // COLUMNS)
    row = min(step, image.shape[0]) // 2
    return image[row::step, step // 2 :: step].astype(np.int16)


def changed_share(first: np.ndarray, second: np.ndarray) -> float:
    """Share of two thumbnails' pixels that differ clearly, 0..1; 1 for different sizes."""
    if first.shape != second.shape:
        return 1.0
    return float((np.abs(first - second).max(axis=2) > CLEAR).mean())


class Planner:
    """Keeps what the plan of a frame depends on; not thread-safe."""

    def __init__(
        self, *, reference_frames: int, stride: int, max_stride: int, scene_change: float
    ) -> None:
        """Begin with nothing planned.

        Args:
            reference_frames: Most that are shown.
            stride: Between reference frames, ns.
            max_stride: Most between them where the language model read frames further apart than
                the stride: those are then shown, and no other has to be encoded.
            scene_change: Share of the picture whose change makes the language model run.
        """
        self._stride = stride
        self._max_stride = max_stride
        self._scene_change = scene_change
        self._read: deque[Frame] = deque(maxlen=reference_frames)
        self._memory = (reference_frames + 1) * max_stride
        self._frame: Frame | None = None
        self._kept: Sequence[Frame] = ()
        self._kept_for = 0
        self._since_reasoning = 0
        self._reasoned_on: np.ndarray | None = None

    def plan(
        self,
        camera: str,
        frame: Frame,
        lives: Sequence[ActiveInstruction],
        buffer: FrameBuffer,
        budget: ComputeBudget,
    ) -> FrameTask:
        """Return what to do for some instructions on the newest frame of a camera.

        The same frame may come again, for instructions that came after it.
        """
        is_new = frame is not self._frame
        if is_new:
            self._begin(frame)
        reason = self._to_reason(frame, lives, budget, is_new=is_new)
        references = self._references(frame, buffer, budget, is_new=is_new) if reason else ()
        if reason and frame not in self._read:
            self._read.append(frame)
        return FrameTask(
            camera=camera,
            frame=frame,
            lives=lives,
            reason=reason,
            references=references,
            keep_references=budget.refresh_every > 0,
            scale=budget.scale,
        )

    def forget(self) -> None:
        """Let go of everything that was seen."""
        self._kept = ()
        self._read.clear()
        self._reasoned_on = None

    def _begin(self, frame: Frame) -> None:
        """Go on to another frame.

        Nothing is used that is from long ago, or from the future as a recording starts over.
        """
        if self._frame and not 0 <= frame.stamp - self._frame.stamp <= self._memory:
            self.forget()
        self._frame = frame
        self._since_reasoning += 1
        self._kept_for += 1

    def _to_reason(
        self,
        frame: Frame,
        lives: Sequence[ActiveInstruction],
        budget: ComputeBudget,
        *,
        is_new: bool,
    ) -> Sequence[ActiveInstruction]:
        """Return all of the instructions when it is time, else those that are new."""
        if budget.reason_every == 1:
            return lives
        if is_new:
            seen = thumbnail(frame.image)
            if self._since_reasoning >= budget.reason_every or self._has_changed(seen):
                self._since_reasoning = 0
                self._reasoned_on = seen
                return lives
        return [live for live in lives if live.conclusion is None]

    def _has_changed(self, seen: np.ndarray) -> bool:
        if self._reasoned_on is None:
            return True
        return changed_share(self._reasoned_on, seen) > self._scene_change

    def _references(
        self, frame: Frame, buffer: FrameBuffer, budget: ComputeBudget, *, is_new: bool
    ) -> Sequence[Frame]:
        if (is_new and not self._keeps(budget)) or frame in self._kept:
            self._kept = self._choose(frame, buffer, budget.reference_frames)
            self._kept_for = 0
        return self._kept

    def _choose(self, frame: Frame, buffer: FrameBuffer, count: int) -> Sequence[Frame]:
        chosen = buffer.references(frame, count=count, stride=self._stride)
        read = [each for each in self._read if each is not frame][-count:] if count else []
        is_better = len(read) >= len(chosen) and self._are_spread([*read, frame])
        return read if is_better else chosen

    def _are_spread(self, frames: Sequence[Frame]) -> bool:
        gaps = [later.stamp - earlier.stamp for earlier, later in pairwise(frames)]
        return all(self._stride < gap <= self._max_stride for gap in gaps)

    def _keeps(self, budget: ComputeBudget) -> bool:
        """Whether the references stay: once there are as many as wanted, and for some frames."""
        return len(self._kept) == budget.reference_frames and self._kept_for < budget.refresh_every
