"""The record of a run: `masks.jsonl`, one line of JSON per frame, from which a run resumes."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.streaming.active_instruction import TRACK_MEMORY
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import Segmentation, Source, State
from instructseg_ros.video.rle import decode_mask, encode_mask
from instructseg_ros.video.source import FrameInfo

MAX_REPLAYED: Final = 1000  # frames, in case the stamps of a camera stand still


class RecordError(ValueError):
    """A record is damaged; the error names the line."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameRecord:
    """The results of one frame.

    Attributes:
        frame: Frame number, from 0.
        info: Time and origin of the frame.
        size: Height and width, pixels.
        answers: The fields of a `Segmentation` as JSON, for each instruction in order.
    """

    frame: int
    info: FrameInfo
    size: tuple[int, int]
    answers: list[dict[str, Any]]

    def to_json(self) -> str:
        """Return the line of the record."""
        return json.dumps(
            {'frame': self.frame, **asdict(self.info), 'size': self.size, 'answers': self.answers},
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: bytes) -> FrameRecord:
        """Parse a line, without decoding its masks."""
        fields = json.loads(text)
        info = FrameInfo(**{name: fields[name] for name in FrameInfo.__dataclass_fields__})
        height, width = fields['size']
        return cls(
            frame=fields['frame'], info=info, size=(height, width), answers=fields['answers']
        )

    def segmentations(self) -> list[Segmentation]:
        """Return the results with their masks, without an image.

        Raises:
            RecordError: One of them is damaged.
        """
        try:
            return [_segmentation(answer) for answer in self.answers]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise RecordError(
                f'the record of frame {self.frame} is damaged ({error}); start again '
                f'with --overwrite'
            ) from error


def answer_fields(result: Segmentation, size: tuple[int, int], *, track_id: int) -> dict[str, Any]:
    """Return the record of a result; its mask has no pixels unless FOUND."""
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


def read_records(file: Path, first: int = 0) -> Iterator[FrameRecord]:
    """Yield the frames of a record from a frame number on.

    Raises:
        RecordError: A line is damaged.
    """
    with file.open('rb') as lines:
        for number, text in enumerate(lines):
            if number >= first:
                yield _parse(file, number, text)


def _parse(file: Path, number: int, text: bytes) -> FrameRecord:
    try:
        record = FrameRecord.from_json(text)
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f'{file}, line {number + 1} is damaged ({error}); start again with --overwrite'
        ) from error
    if record.frame != number:
        raise RecordError(
            f'{file}, line {number + 1} is of frame {record.frame}, not {number}; '
            f'start again with --overwrite'
        )
    return record


@dataclass(frozen=True)
class CompleteRecord:
    """A record of all frames of a source.

    Attributes:
        file: The record.
        frames: Number of frames.
    """

    file: Path
    frames: int

    def first(self) -> FrameRecord:
        """Return the first frame."""
        return next(read_records(self.file))

    def read(self, activity: str, first: int = 0) -> Iterator[FrameRecord]:
        """Yield the frames from a number on, with a progress bar named after the activity."""
        yield from tqdm(
            read_records(self.file, first),
            activity,
            initial=first,
            total=self.frames,
            unit=' frames',
        )


class RecordWriter:
    """Appends frames to a record."""

    def __init__(self, file: Path) -> None:
        """Open or create the record, and cut off an incomplete last line."""
        file.touch()
        self._file = file.open('r+b')
        self._file.truncate(_end_of_lines(self._file))
        self._file.seek(0, 2)

    def write(self, record: FrameRecord) -> None:
        """Append a frame, flushed so that it survives a crash of this process."""
        self._file.write(record.to_json().encode() + b'\n')
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _end_of_lines(file: BufferedRandom) -> int:
    """Return the size of the complete lines, bytes."""
    return sum(len(line) for line in file if line.endswith(b'\n'))


@dataclass(frozen=True)
class ReplayFrame:
    """A recorded frame that the engine processes again when a run resumes.

    Attributes:
        info: Time and origin of the frame.
        tracks: Track number of each instruction, 0 for none.
        is_kept: Whether the engine kept it as a reference frame.
    """

    info: FrameInfo
    tracks: tuple[int, ...]
    is_kept: bool


class ReplayWindow:
    """The last frames of a record, which restore the engine's state when a run resumes.

    These are the reference frames and the frames needed to recognise a lost target. The engine
    spaces reference frames from the first one on, so the window starts at a frame that the engine
    kept.
    """

    def __init__(self, settings: EngineSettings) -> None:
        """Start without frames."""
        stride = int(settings.reference_stride * NANO)
        self._spacing = stride // 4
        self._span = max(TRACK_MEMORY, (settings.reference_frames + 1) * stride)
        self._frames: deque[ReplayFrame] = deque(maxlen=MAX_REPLAYED)
        self._last_kept: int | None = None
        self.count = 0
        self.tracks = 0

    def add(self, record: FrameRecord) -> None:
        """Add the next frame, and drop those that are too old."""
        stamp = record.info.stamp
        is_kept = self._last_kept is None or not 0 <= stamp - self._last_kept < self._spacing
        if is_kept:
            self._last_kept = stamp
        tracks = tuple(answer['track_id'] for answer in record.answers)
        self._frames.append(ReplayFrame(record.info, tracks, is_kept))
        self.count += 1
        self.tracks = max(self.tracks, *tracks)
        self._drop_old(stamp)

    def frames(self) -> Sequence[ReplayFrame]:
        """Return the frames to process again, oldest first."""
        return tuple(self._frames)

    def _drop_old(self, stamp: int) -> None:
        """Drop the frames before the window, which must start at a frame that the engine kept."""
        old = [
            number
            for number, frame in enumerate(self._frames)
            if frame.is_kept and not 0 <= stamp - frame.info.stamp < self._span
        ]
        for _ in range(old[-1] if old else 0):
            self._frames.popleft()


class TrackNumbering:
    """Numbers the tracks of a run 1, 2, 3, ..., independently of their ids in this process."""

    def __init__(self, count: int = 0) -> None:
        """Start after the tracks of earlier processes."""
        self._count = count
        self._numbers = {0: 0}

    def learn(self, results: Sequence[Segmentation], numbers: Sequence[int]) -> None:
        """Adopt the numbers that the tracks of a replayed frame had."""
        for result, number in zip(results, numbers, strict=True):
            if result.track_id and number:
                self._numbers[result.track_id] = number

    def number(self, result: Segmentation) -> int:
        """Return the track number of a result; 0 unless FOUND."""
        if result.track_id not in self._numbers:
            self._count += 1
            self._numbers[result.track_id] = self._count
        return self._numbers[result.track_id]
