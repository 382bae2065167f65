"""One stream of a session: keeps recent frames, and plans the model's work on the next frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Generic, TypeVar

import numpy as np

from instructseg_ros.model.frame_buffer import NANO, Frame, FrameBuffer
from instructseg_ros.model.query import Query

AnyQuery = TypeVar('AnyQuery', bound=Query)
THUMBNAIL_COLUMNS: Final = 64
MIN_CHANGE: Final = 24  # out of 255, above a camera's noise


@dataclass(frozen=True, kw_only=True)
class ReferencePolicy:
    """Policy that selects reference frames and lets the language model run early.

    Attributes:
        count: Maximum number of reference frames.
        stride: Seconds between reference frames.
        max_stride: Maximum number of seconds between reference frames; None: `stride`. If the
            language model runs less than once per `stride`, the frames that it ran on serve as
            reference frames, so that no other frame has to be encoded.
        scene_change: Share of the image that must change for the language model to run at once.
    """

    count: int = 0
    stride: float = 0.2
    max_stride: float | None = None
    scene_change: float = 0.2


@dataclass(frozen=True, kw_only=True)
class ComputeBudget:
    """Limits on how often each part of the model runs, and on how much input.

    Attributes:
        reason_every: Frames from one run of the language model to the next; frames in between are
            decoded with its last output.
        refresh_every: Number of frames for which the reference frames stay the same; 0: they are
            chosen again for each frame.
        reference_frames: Maximum number of earlier frames that the model reads with each frame.
        scale: Factor on the height and width of the mask branch's input.
    """

    reason_every: int = 1
    refresh_every: int = 0
    reference_frames: int = 0
    scale: float = 1.0

    def __str__(self) -> str:
        interval = 'frame' if self.reason_every == 1 else f'{self.reason_every} frames'
        return (
            f'language model every {interval}, '
            f'{self.reference_frames} reference frames, input size {self.scale:.0%}'
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameTask(Generic[AnyQuery]):
    """A frame to segment for some queries.

    Attributes:
        frame: The frame.
        queries: The queries to run on it.
        to_reason: Queries for which the language model runs on this frame; the others are decoded
            with their last embedding.
        references: Reference frames of this frame, oldest first.
        keep_references: Whether the next frames will have the same reference frames.
        scale: Factor on the height and width of the mask branch's input.
    """

    frame: Frame
    queries: Sequence[AnyQuery]
    to_reason: Sequence[AnyQuery]
    references: Sequence[Frame] = ()
    keep_references: bool = False
    scale: float = 1.0

    def for_queries(self, queries: Sequence[AnyQuery]) -> FrameTask[AnyQuery]:
        """Return this task restricted to some of its queries."""
        to_reason = [query for query in queries if query in self.to_reason]
        return replace(self, queries=queries, to_reason=to_reason)


class VideoStream:
    """Recent frames of one stream, and the plan for its next frame; not thread-safe.

    Attributes:
        frames: The recent frames, as many as the reference policy needs.
    """

    def __init__(self, policy: ReferencePolicy) -> None:
        """Create a stream without frames."""
        self._stride = int(policy.stride * NANO)
        self._max_stride = int((policy.max_stride or policy.stride) * NANO)
        self._scene_change = policy.scene_change
        self.frames = FrameBuffer(
            capacity=4 * policy.count + 4,
            spacing=self._stride // 4,
            max_span=(policy.count + 1) * self._stride,
        )
        self._memory = (policy.count + 1) * self._max_stride
        self._reasoned_frames: deque[Frame] = deque(maxlen=policy.count)
        self._frame: Frame | None = None
        self._references: Sequence[Frame] = ()
        self._references_age = 0
        self._since_reasoning = 0
        self._reasoned_on: np.ndarray | None = None

    def plan(
        self, frame: Frame, queries: Sequence[AnyQuery], budget: ComputeBudget
    ) -> FrameTask[AnyQuery]:
        """Decide what the model computes for queries on the newest frame.

        The same frame may be planned again for queries that arrived after it.
        """
        is_new = frame is not self._frame
        if is_new:
            self._begin(frame)
        to_reason = self._choose_to_reason(frame, queries, budget, is_new=is_new)
        references = self._update_references(frame, budget, is_new=is_new) if to_reason else ()
        if to_reason and frame not in self._reasoned_frames:
            self._reasoned_frames.append(frame)
        return FrameTask(
            frame=frame,
            queries=queries,
            to_reason=to_reason,
            references=references,
            keep_references=budget.refresh_every > 0,
            scale=budget.scale,
        )

    def clear(self) -> None:
        """Release all features; the next frame will be planned as if it were the first."""
        self.frames.clear_features()
        if self._frame is not None:  # it may have left the buffer
            self._frame.features = None
        self._clear_plan()

    def _clear_plan(self) -> None:
        self._references = ()
        self._reasoned_frames.clear()
        self._reasoned_on = None

    def _begin(self, frame: Frame) -> None:
        """Move on to another frame; nothing is reused across a gap or a jump back in time."""
        if self._frame and not 0 <= frame.stamp - self._frame.stamp <= self._memory:
            self._clear_plan()
        self._frame = frame
        self._since_reasoning += 1
        self._references_age += 1

    def _choose_to_reason(
        self, frame: Frame, queries: Sequence[AnyQuery], budget: ComputeBudget, *, is_new: bool
    ) -> Sequence[AnyQuery]:
        """Return all queries when the language model is due, else those without an embedding."""
        if budget.reason_every == 1:
            return queries
        if is_new:
            seen = thumbnail(frame.image)
            if self._since_reasoning >= budget.reason_every or self._has_changed(seen):
                self._since_reasoning = 0
                self._reasoned_on = seen
                return queries
        return [query for query in queries if query.embedding is None]

    def _has_changed(self, seen: np.ndarray) -> bool:
        if self._reasoned_on is None:
            return True
        return changed_share(self._reasoned_on, seen) > self._scene_change

    def _update_references(
        self, frame: Frame, budget: ComputeBudget, *, is_new: bool
    ) -> Sequence[Frame]:
        if (is_new and not self._keeps_references(budget)) or frame in self._references:
            self._references = self._choose_references(frame, budget.reference_frames)
            self._references_age = 0
        return self._references

    def _choose_references(self, frame: Frame, count: int) -> Sequence[Frame]:
        chosen = self.frames.references(frame, count=count, stride=self._stride)
        reasoned = [each for each in self._reasoned_frames if each is not frame]
        reasoned = reasoned[-count:] if count else []
        is_better = len(reasoned) >= len(chosen) and self._are_spread([*reasoned, frame])
        return reasoned if is_better else chosen

    def _are_spread(self, frames: Sequence[Frame]) -> bool:
        gaps = [later.stamp - earlier.stamp for earlier, later in pairwise(frames)]
        return all(self._stride < gap <= self._max_stride for gap in gaps)

    def _keeps_references(self, budget: ComputeBudget) -> bool:
        """Return whether the references stay the same for the next frame."""
        return (
            len(self._references) == budget.reference_frames
            and self._references_age < budget.refresh_every
        )


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Sample an (H, W, 3) uint8 image on a coarse grid: (h, w, 3) int16."""
    step = max(1, image.shape[1] // THUMBNAIL_COLUMNS)
    row = min(step, image.shape[0]) // 2
    return image[row::step, step // 2 :: step].astype(np.int16)


def changed_share(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of pixels that clearly differ, 0..1; 1 for different sizes."""
    if first.shape != second.shape:
        return 1.0
    return float((np.abs(first - second).max(axis=2) > MIN_CHANGE).mean())
