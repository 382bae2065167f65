"""What a run that was cut off has to see again, so that it goes on as if it had not been."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from instructseg_ros.streaming.presence import MEMORY
from instructseg_ros.streaming.settings import EngineSettings
from instructseg_ros.video.frame import NANO, Place
from instructseg_ros.video.record import Line

MOST = 1000  # frames, should a camera's clock stand still


@dataclass(frozen=True)
class Seen:
    """A frame of the record: where it is, and the track of each instruction on it."""

    place: Place
    tracks: tuple[int, ...]
    opens: bool


class History:
    """The end of a record: the frames that the next one may be compared with.

    These are the reference frames, and what a target is recognised by after a moment out of sight.
    The engine keeps reference frames some time apart, counted from the first, so that it matters
    with which frame one begins again: with one that it would have kept.
    """

    def __init__(self, settings: EngineSettings) -> None:
        """Begin with no frame."""
        stride = int(settings.reference_stride * NANO)
        self._spacing = stride // 4
        self._span = max(MEMORY, (settings.reference_frames + 1) * stride)
        self._seen: deque[Seen] = deque(maxlen=MOST)
        self._kept: int | None = None
        self.frames = 0
        self.tracks = 0

    def add(self, line: Line) -> None:
        """Take the next frame in."""
        stamp = line.place.stamp
        opens = self._kept is None or not 0 <= stamp - self._kept < self._spacing
        if opens:
            self._kept = stamp
        tracks = tuple(answer['track_id'] for answer in line.answers)
        self._seen.append(Seen(line.place, tracks, opens))
        self.frames += 1
        self.tracks = max(self.tracks, *tracks)
        self._let_go(stamp)

    def again(self) -> Sequence[Seen]:
        """Return the frames to show again, the oldest first."""
        return tuple(self._seen)

    def _let_go(self, stamp: int) -> None:
        """Let the frames go that are before the last kept one that is old enough."""
        old = [number for number, seen in enumerate(self._seen)
               if seen.opens and not 0 <= stamp - seen.place.stamp < self._span]
        for _ in range(old[-1] if old else 0):
            self._seen.popleft()
