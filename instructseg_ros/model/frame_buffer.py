"""A bounded buffer for one stream's recent frames and their features."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from instructseg_ros.model.query import FrameFeatures

NANO: Final = 10**9  # ns in a second


@dataclass(kw_only=True, eq=False)
class Frame:
    """One image of a stream.

    Attributes:
        image: (H, W, 3) uint8 RGB; may be a view into the message that it came in.
        stamp: Time of capture, ns.
        header: Opaque value for the caller, returned with the result.
        received: Time of arrival on the engine's clock, ns.
        arrived: Time of arrival on the steady clock, s.
        features: Vision tokens, once the model has encoded the frame.
    """

    image: np.ndarray = field(repr=False)
    stamp: int
    header: Any = None
    received: int = 0
    arrived: float = 0.0
    features: FrameFeatures | None = field(default=None, repr=False)


class FrameBuffer:
    """Frames of one stream, bounded by count and by age; not thread-safe.

    The newest frame is always kept. Older frames are kept at least `spacing` apart, so that a fast
    camera needs no more memory than a slow one.
    """

    def __init__(self, *, capacity: int, max_span: int, spacing: int = 0) -> None:
        """Create an empty buffer.

        Args:
            capacity: Maximum number of frames, at least 1.
            max_span: Frames older than the newest one by more than this are released, ns.
            spacing: Minimum time between the stamps of all frames but the newest, ns.
        """
        if capacity < 1 or max_span < 0 or spacing < 0:
            raise ValueError('capacity must be at least 1, max_span and spacing not negative')
        self._frames: deque[Frame] = deque()
        self._capacity = capacity
        self._max_span = max_span
        self._spacing = spacing
        self._taken = True

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: Frame) -> bool:
        """Add a frame as the newest; return whether the previous newest was never taken.

        A frame with the same stamp as the newest replaces it. An earlier stamp means that time
        jumped back, as when a recording starts over: all frames added before are then released.
        """
        replaced = not self._taken
        self._taken = False
        if self._frames and frame.stamp < self._frames[-1].stamp:
            self._frames.clear()
        elif self._frames and self._is_crowded(frame):
            self._thin_out()
        self._frames.append(frame)
        while len(self._frames) > self._capacity or self._span() > self._max_span:
            self._frames.popleft()
        return replaced

    def take(self) -> None:
        """Mark the newest frame as taken, so that the next `add` does not report it as unused."""
        self._taken = True

    def newest(self, *, now: float, max_age: float) -> Frame | None:
        """Return the newest frame, taken or not; None if it arrived too long ago.

        Args:
            now: Current time on the steady clock, s.
            max_age: Maximum time since the frame's arrival, s.
        """
        if not self._frames or now - self._frames[-1].arrived > max_age:
            return None
        return self._frames[-1]

    def references(self, key: Frame, *, count: int, stride: int) -> Sequence[Frame]:
        """Choose the reference frames of `key`, oldest first, all captured before it.

        For k = count..1 the frame nearest to `key.stamp - k * stride` is chosen, at most half a
        stride away; frames with features are preferred. Fewer than `count` frames are returned if
        no frame is near enough for some k.
        """
        earlier = [frame for frame in self._frames if frame.stamp < key.stamp]
        chosen: list[Frame] = []
        for k in range(count, 0, -1):
            wanted = key.stamp - k * stride
            near = [f for f in earlier if abs(f.stamp - wanted) * 2 <= stride and f not in chosen]
            if near:
                chosen.append(min(near, key=lambda f: (f.features is None, abs(f.stamp - wanted))))
        return sorted(chosen, key=lambda frame: frame.stamp)

    def clear_features(self) -> None:
        """Release all features; the frames stay."""
        for frame in self._frames:
            frame.features = None

    def _thin_out(self) -> None:
        """Release the newest frame, or the one before it if only that one lacks features."""
        frames = self._frames
        if len(frames) > 1 and frames[-1].features is not None and frames[-2].features is None:
            del frames[-2]
        else:
            frames.pop()

    def _span(self) -> int:
        return self._frames[-1].stamp - self._frames[0].stamp

    def _is_crowded(self, frame: Frame) -> bool:
        """Return whether the previous newest frame need not be kept once `frame` is added."""
        if frame.stamp == self._frames[-1].stamp:
            return True
        if len(self._frames) < 2:
            return False
        return self._frames[-1].stamp - self._frames[-2].stamp < self._spacing
