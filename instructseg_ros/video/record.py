"""The record of a run: `masks.jsonl`, one line of JSON per frame, and how a run resumes from it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from instructseg_ros.streaming.active_instruction import TRACK_MEMORY
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation, Source, State
from instructseg_ros.streaming.settings import EngineSettings
from instructseg_ros.video.frame import NANO, Place
from instructseg_ros.video.rle import decode_mask, encode_mask


class RecordError(ValueError):
    """A record that is damaged; the message says where."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """What the record holds of one frame.

    Attributes:
        frame: Its number, from 0.
        place: Where it is in the source.
        size: Height and width, pixels.
        answers: For each instruction, in order, the fields of a `Segmentation` as JSON has them.
    """

    frame: int
    place: Place
    size: tuple[int, int]
    answers: list[dict[str, Any]]

    def to_json(self) -> str:
        """Return it as a line."""
        return json.dumps(
            {'frame': self.frame, **asdict(self.place), 'size': self.size, 'answers': self.answers},
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: bytes) -> Line:
        """Read a line, but not the masks in it."""
        fields = json.loads(text)
        place = Place(**{name: fields[name] for name in Place.__dataclass_fields__})
        height, width = fields['size']
        return cls(
            frame=fields['frame'], place=place, size=(height, width), answers=fields['answers']
        )

    def segmentations(self) -> list[Segmentation]:
        """Return the answers with their masks, without an image.

        Raises:
            RecordError: One of them is damaged.
        """
        try:
            return [_segmentation(answer) for answer in self.answers]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise RecordError(
                f'the record of frame {self.frame} is damaged ({error}); begin anew '
                f'with --overwrite'
            ) from error


def answer_fields(result: Segmentation, size: tuple[int, int], *, track_id: int) -> dict[str, Any]:
    """Return what the record says of an answer; a mask without pixels unless FOUND."""
    mask = result.mask if result.state is State.FOUND else None
    return {
        'instruction': result.instruction.text,
        'state': result.state.name,
        'score': round(result.score, 4),
        'reason': result.reason,
        'track_id': track_id,
        'reference_frames': result.reference_frames,
        'source': result.source.name,
        'area': result.pixels,
        'bbox': result.region,
        'segmentation': encode_mask(np.zeros(size, bool) if mask is None else mask),
    }


def _segmentation(answer: dict[str, Any]) -> Segmentation:
    return Segmentation(
        instruction=Instruction(text=answer['instruction']),
        state=State[answer['state']],
        score=answer['score'],
        reason=answer['reason'],
        track_id=answer['track_id'],
        reference_frames=answer['reference_frames'],
        source=Source[answer['source']],
        mask=decode_mask(answer['segmentation']),
    )


def read_lines(file: Path, first: int = 0) -> Iterator[Line]:
    """Yield the lines of a record from a frame on.

    Raises:
        RecordError: A line is damaged.
    """
    with file.open('rb') as record:
        for number, text in enumerate(record):
            if number >= first:
                yield _parse(file, number, text)


def _parse(file: Path, number: int, text: bytes) -> Line:
    try:
        line = Line.from_json(text)
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f'{file}, line {number + 1} is damaged ({error}); begin anew with --overwrite'
        ) from error
    if line.frame != number:
        raise RecordError(
            f'{file}, line {number + 1} is of frame {line.frame}, not {number}; '
            f'begin anew with --overwrite'
        )
    return line


@dataclass(frozen=True)
class CompleteRecord:
    """A record that holds all frames of a source, and how many they are."""

    file: Path
    frames: int

    def first(self) -> Line:
        """Return the line of the first frame."""
        return next(read_lines(self.file))

    def lines(self, doing: str, first: int = 0) -> Iterator[Line]:
        """Yield the lines from a frame on, and show how far what is done with them has come."""
        yield from tqdm(
            read_lines(self.file, first), doing, initial=first, total=self.frames, unit=' frames'
        )


class RecordWriter:
    """Appends lines to a record."""

    def __init__(self, file: Path) -> None:
        """Open the record, make it where it is missing, and cut off a last line without end."""
        file.touch()
        self._file = file.open('r+b')
        self._file.truncate(_end_of_lines(self._file))
        self._file.seek(0, 2)

    def write(self, line: Line) -> None:
        """Append a line; from then on it outlives this process, however that ends."""
        self._file.write(line.to_json().encode() + b'\n')
        self._file.flush()

    def close(self) -> None:
        """Let others write."""
        self._file.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _end_of_lines(file: BufferedRandom) -> int:
    """Bytes up to the end of the last whole line."""
    end = 0
    for line in file:
        if line.endswith(b'\n'):
            end += len(line)
    return end


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
        self._span = max(TRACK_MEMORY, (settings.reference_frames + 1) * stride)
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
        old = [
            number
            for number, seen in enumerate(self._seen)
            if seen.opens and not 0 <= stamp - seen.place.stamp < self._span
        ]
        for _ in range(old[-1] if old else 0):
            self._seen.popleft()


class Tracks:
    """Numbers the tracks of a run 1, 2, 3, ..., whatever ids they have in this process."""

    def __init__(self, count: int = 0) -> None:
        """Begin after so many tracks of earlier processes."""
        self._count = count
        self._numbers = {0: 0}

    def learn(self, results: Sequence[Segmentation], numbers: Sequence[int]) -> None:
        """Take note of the numbers that tracks had on a frame that is shown again."""
        for result, number in zip(results, numbers, strict=True):
            if result.track_id and number:
                self._numbers[result.track_id] = number

    def number(self, result: Segmentation) -> int:
        """Return the number of the track of an answer; 0 unless FOUND."""
        if result.track_id not in self._numbers:
            self._count += 1
            self._numbers[result.track_id] = self._count
        return self._numbers[result.track_id]
