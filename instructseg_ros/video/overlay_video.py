"""Overlays as films, one for each instruction, with the times of the source's frames.

A film cannot be appended to once its writing was cut off. So pieces of some frames are written,
and joined without encoding them anew when all of them are there.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from instructseg_ros.streaming.overlay import draw_overlay
from instructseg_ros.video.frame import NANO, Source, read_from
from instructseg_ros.video.record import CompleteRecord, Line
from instructseg_ros.video.video_file import import_av, open_film

if TYPE_CHECKING:
    from av.container import OutputContainer

PIECE = 500  # frames
TICKS = 90_000  # a second
ENCODERS = ('libx264', 'libopenh264', 'mpeg4')  # the first that PyAV was built with


class VideoWriter:
    """One film; pictures of another size are fitted into that of the film.

    Raises:
        MissingPyAVError: PyAV is not installed.
    """

    def __init__(self, file: Path, size: tuple[int, int]) -> None:
        """Begin a film of that height and width, made even by a row or column of black."""
        av = import_av()
        self._file = file
        self._last = -1
        self._av = av
        self._container: OutputContainer = open_film(_draft(file), 'w', format='mp4')
        encoder = next(name for name in ENCODERS if name in av.codecs_available)
        self._stream = self._container.add_stream(encoder, rate=30)
        self._height, self._width = size
        self._stream.height, self._stream.width = (side + side % 2 for side in size)
        self._stream.pix_fmt = 'yuv420p'
        self._stream.codec_context.time_base = Fraction(1, TICKS)
        # Frames in the order in which they are shown, so that pieces can be joined.
        self._stream.codec_context.max_b_frames = 0

    def write(self, image: np.ndarray, time: int) -> None:
        """Add an (H, W, 3) uint8 RGB picture, shown from a time on (ns)."""
        picture = ImageOps.pad(Image.fromarray(image), (self._width, self._height))
        canvas = np.zeros((self._stream.height, self._stream.width, 3), np.uint8)
        canvas[: self._height, : self._width] = picture
        frame = self._av.VideoFrame.from_ndarray(canvas, format='rgb24')
        self._last = max(self._last + 1, round(time * TICKS / NANO))
        frame.pts = self._last
        frame.time_base = Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Complete the file; before, it has another name."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        os.replace(_draft(self._file), self._file)


def _draft(file: Path) -> Path:
    return file.with_suffix('.new')


def write_overlays(
    source: Source, record: CompleteRecord, names: Sequence[str], folder: Path
) -> None:
    """Write a film for the instruction of each name into a folder; complete pieces there stay.

    Raises:
        MissingPyAVError: PyAV is not installed.
        SourceError: The source is not what it was.
    """
    pieces = folder / 'pieces'
    for name in names:
        (pieces / name).mkdir(parents=True, exist_ok=True)
    first = record.first()
    done = _complete_pieces(pieces, names)
    frames = _frames(source, record.lines('overlay', done * PIECE))
    for number in itertools.count(done):
        head = next(frames, None)
        if head is None:
            break
        files = [pieces / name / f'{number:06d}.mp4' for name in names]
        _write_piece(itertools.chain([head], itertools.islice(frames, PIECE - 1)), files, first)
    for name in names:
        _join(sorted((pieces / name).glob('*.mp4')), folder / f'{name}.mp4')
    shutil.rmtree(pieces)


def _complete_pieces(pieces: Path, names: Sequence[str]) -> int:
    """How many pieces every instruction has."""
    return min(len(list((pieces / name).glob('*.mp4'))) for name in names)


def _frames(source: Source, lines: Iterator[Line]) -> Iterator[tuple[Line, np.ndarray]]:
    """Yield each line with the picture of its frame."""
    head = next(lines, None)
    if head is not None:
        frames = read_from(source, head.place)
        for line, frame in zip(itertools.chain([head], lines), frames, strict=True):
            yield line, frame.image


def _write_piece(
    frames: Iterable[tuple[Line, np.ndarray]], files: Sequence[Path], first: Line
) -> None:
    """Write one piece of each film; its times count from the first frame of all."""
    films = [VideoWriter(file, first.size) for file in files]
    for line, image in frames:
        time = line.place.recorded - first.place.recorded
        for film, answer in zip(films, line.segmentations(), strict=True):
            film.write(draw_overlay(image, answer), time)
    for film in films:
        film.close()


def _join(files: Sequence[Path], target: Path) -> None:
    """Write one film after the other into one."""
    last = -1
    with open_film(_draft(target), 'w', format='mp4') as whole:
        for file in files:
            with open_film(file) as piece:
                stream = piece.streams.video[0]
                if not whole.streams.video:
                    whole.add_stream_from_template(stream)
                for packet in piece.demux(stream):
                    if packet.dts is not None:  # which only the end of a film has not
                        last = packet.dts = packet.pts = max(packet.pts, last + 1)
                        packet.stream = whole.streams.video[0]
                        whole.mux(packet)
    os.replace(_draft(target), target)
