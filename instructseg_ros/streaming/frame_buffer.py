"""A ring of recent frames of one camera, with their vision tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(kw_only=True, eq=False)
class Frame:
    """One image of a camera.

    Attributes:
        image: (H, W, 3) uint8 RGB; may be a view of the message it came with.
        stamp: When it was captured, in nanoseconds.
        header: Whatever the caller wants back with the result.
        received: When it reached the engine, in nanoseconds of the engine's clock.
        arrived: The same instant in seconds of the steady clock.
        tokens: Its vision tokens once the model has encoded it.
    """

    image: np.ndarray = field(repr=False)
    stamp: int
    header: Any = None
    received: int = 0
    arrived: float = 0.0
    tokens: Any = field(default=None, repr=False)


class StaleFrameError(RuntimeError):
    """There is no frame, or the newest one is too old; the message says which."""


class FrameBuffer:
    """Bounded by count and by age; not thread-safe, its owner holds the lock.

    The newest frame is always kept. Behind it frames are kept at least `spacing` apart, so that
    a fast camera needs no more memory than a slow one.
    """

    def __init__(self, *, capacity: int, max_span: int, spacing: int = 0) -> None:
        """Make an empty buffer.

        Args:
            capacity: Most frames to hold, at least 1.
            max_span: Frames captured longer than this before the newest are let go, ns.
            spacing: Least time between the stamps of two frames behind the newest, ns.
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
        """Add the newest frame; True when the one before it was never taken.

        A stamp that equals the newest one's replaces that frame. A stamp before it means that
        time jumped back, as when a recording starts over: the frames of the future are let go.
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

    def take(self) -> Frame | None:
        """Return the newest frame if nobody took it yet, else None."""
        if self._taken or not self._frames:
            return None
        self._taken = True
        return self._frames[-1]

    def newest(self, *, now: float, max_age: float) -> Frame:
        """Return the newest frame, taken or not.

        Args:
            now: Seconds of the steady clock.
            max_age: Longest time since it arrived, s.

        Raises:
            StaleFrameError: There is none, or it arrived longer ago.
        """
        if not self._frames:
            raise StaleFrameError('no image has arrived yet')
        age = now - self._frames[-1].arrived
        if age > max_age:
            raise StaleFrameError(
                f'the newest image is {age:.1f} s old, the limit is {max_age:.1f} s'
            )
        return self._frames[-1]

    def references(self, key: Frame, *, count: int, stride: int) -> Sequence[Frame]:
        """Choose the frames that the model sees beside `key`, oldest first.

        For k = count..1 the frame captured nearest `key.stamp - k * stride` and at most half a
        stride from it; one that has its vision tokens already goes before one that has not.
        Where there is none the sequence is shorter. Only frames before `key` are chosen.
        """
        earlier = [frame for frame in self._frames if frame.stamp < key.stamp]
        chosen: list[Frame] = []
        for k in range(count, 0, -1):
            wanted = key.stamp - k * stride
            near = [f for f in earlier if abs(f.stamp - wanted) * 2 <= stride and f not in chosen]
            if near:
                chosen.append(min(near, key=lambda f: (f.tokens is None, abs(f.stamp - wanted))))
        return sorted(chosen, key=lambda frame: frame.stamp)

    def _thin_out(self) -> None:
        """Let go of the frame that was newest so far, or rather of its neighbour without tokens."""
        frames = self._frames
        if len(frames) > 1 and frames[-1].tokens is not None and frames[-2].tokens is None:
            del frames[-2]
        else:
            frames.pop()

    def forget_tokens(self) -> None:
        """Let go of all vision tokens; the frames stay."""
        for frame in self._frames:
            frame.tokens = None

    def _span(self) -> int:
        return self._frames[-1].stamp - self._frames[0].stamp

    def _is_crowded(self, frame: Frame) -> bool:
        """Tell whether the frame that was newest so far is not worth keeping behind `frame`."""
        if frame.stamp == self._frames[-1].stamp:
            return True
        if len(self._frames) < 2:
            return False
        return self._frames[-1].stamp - self._frames[-2].stamp < self._spacing
