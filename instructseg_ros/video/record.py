"""The record of a run: `masks.jsonl`, one line of JSON for each frame, in the frames' order.

It is what a run resumes from: a line is written once all instructions are answered on its frame,
and of a line that was cut off nothing is kept. Everything else is drawn from it at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation, Source, State
from instructseg_ros.video.frame import Place
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
        return json.dumps({
            'frame': self.frame, **asdict(self.place), 'size': self.size, 'answers': self.answers,
        }, ensure_ascii=False)  # fmt: skip

    @classmethod
    def from_json(cls, text: bytes) -> Line:
        """Read a line, but not the masks in it."""
        fields = json.loads(text)
        place = Place(**{name: fields[name] for name in Place.__dataclass_fields__})
        height, width = fields['size']
        return cls(frame=fields['frame'], place=place, size=(height, width),
                   answers=fields['answers'])

    def segmentations(self) -> list[Segmentation]:
        """Return the answers with their masks, without an image.

        Raises:
            RecordError: One of them is damaged.
        """
        try:
            return [_segmentation(answer) for answer in self.answers]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise RecordError(f'the record of frame {self.frame} is damaged ({error}); begin anew '
                              f'with --overwrite') from error


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
        instruction=Instruction(text=answer['instruction']), state=State[answer['state']],
        score=answer['score'], reason=answer['reason'], track_id=answer['track_id'],
        reference_frames=answer['reference_frames'], source=Source[answer['source']],
        mask=decode_mask(answer['segmentation']))


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
        raise RecordError(f'{file}, line {number + 1} is damaged ({error}); '
                          f'begin anew with --overwrite') from error
    if line.frame != number:
        raise RecordError(f'{file}, line {number + 1} is of frame {line.frame}, not {number}; '
                          f'begin anew with --overwrite')
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
        yield from tqdm(read_lines(self.file, first), doing, initial=first, total=self.frames,
                        unit=' frames')


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
