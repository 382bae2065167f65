"""Plays a recorded tabletop where no OpenGL is installed: the same frames and truth from a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import TracebackType

from rosbags.rosbag2 import Reader
from rosbags.rosbag2.errors import ReaderError

from instructseg_ros.simulation.bag import LABELS, TOPICS, from_messages
from instructseg_ros.simulation.tabletop import Observation

SHIPPED = Path(__file__).parent / 'recordings' / 'tabletop.mcap'
SCENE_SECONDS = 8.0
# The label images of the shipped recording have this name.
PLAIN_LABELS = '/camera/labels'


class RecordingError(RuntimeError):
    """A recording that is missing or unreadable; the message names the remedy."""


class Recording:
    """A recording as a camera: `observe` like a Tabletop, over and over; iterate for one pass.

    A rosbag2 MCAP file of the topics in `bag.TOPICS`, all messages of a frame with one log time.
    Reading onwards is fast; jumping back or far ahead opens a chunk anew (0.1 s).
    Raises RecordingError for a missing, truncated or foreign file.
    """

    def __init__(self, path: Path | str = SHIPPED) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise RecordingError(f'no recording at {self.path}: make one with '
                                 '`python -m instructseg_ros.simulation.record`')  # fmt: skip
        try:
            self._reader = Reader(self.path)
            self._reader.open()
        except (ReaderError, OSError, ValueError) as error:
            raise RecordingError(f'{self.path} is not a readable MCAP file: {error}') from error
        self._names: dict[str, str] = {}
        self._index()
        self._offset = 0.0
        self._frames, self._next = self._read(0), 0
        self._frame: dict[str, bytes] = {}

    def _index(self) -> None:
        topics = self._reader.topics
        if LABELS not in topics and PLAIN_LABELS in topics:
            self._names[PLAIN_LABELS] = LABELS
        known = {self._names.get(topic, topic) for topic in topics}
        missing = [topic for topic in TOPICS if topic not in known]
        self.frames = 0 if missing else topics['/camera/image'].msgcount
        if not self.frames:
            raise RecordingError(f'{self.path} is not a recorded tabletop: no {", ".join(missing)}')
        span = self._reader.end_time - 1 - self._reader.start_time
        self._step = span / max(1, self.frames - 1)
        self.rate = round(1e9 / self._step, 6) if self.frames > 1 else 1.0
        self.duration = self.frames / self.rate

    def reset(self, seed: int) -> None:
        """Let time 0 be the start of another recorded scene: number `seed` modulo their count."""
        scenes = max(1, round(self.duration / SCENE_SECONDS))
        self._offset = (seed % scenes) * SCENE_SECONDS

    def observe(self, time: float, *, truth: bool = True) -> Observation:
        """The frame at `time` seconds; the recording repeats itself for ever, both ways."""
        number = math.floor((time + self._offset) * self.rate + 1e-6) % self.frames
        return from_messages(self._seek(number), float(time), truth=truth)

    def __iter__(self) -> Iterator[Observation]:
        """All frames once, with their truth."""
        for number, raw in enumerate(self._read(0)):
            yield from_messages(raw, number / self.rate, truth=True)

    def __len__(self) -> int:
        return self.frames

    def _seek(self, number: int) -> dict[str, bytes]:
        shown = self._next - 1
        if not max(0, shown) <= number < shown + self.rate:
            self._frames, self._next = self._read(number), number
        while self._next <= number:
            self._frame = next(self._frames)
            self._next += 1
        return self._frame

    def _read(self, first: int) -> Iterator[dict[str, bytes]]:
        start = self._reader.start_time + round((first - 0.5) * self._step)
        messages = self._reader.messages(start=start)
        for _, group in groupby(messages, key=lambda message: message[1]):
            yield {self._names.get(connection.topic, connection.topic): data
                   for connection, _, data in group}

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        if self._reader.is_open:
            self._reader.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.close()
