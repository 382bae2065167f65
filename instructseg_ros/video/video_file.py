"""Reads and writes video files (mp4 and similar) through PyAV; writes the overlays of a run."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageOps

from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.streaming.overlay import draw_overlay
from instructseg_ros.video.record import CompleteRecord, FrameRecord
from instructseg_ros.video.source import FrameInfo, SourceError, VideoFrame, VideoSource, read_from

if TYPE_CHECKING:
    from av import VideoStream
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame as AvFrame

ASSUMED_RATE: Final = 25  # frames per second of a raw stream, which does not state its rate
SEGMENT_FRAMES: Final = 500
TICKS: Final = 90_000  # per second
ENCODERS: Final = ('libx264', 'libopenh264', 'mpeg4')  # in order of preference
logger = logging.getLogger(__name__)


class MissingPyAVError(RuntimeError):
    """Video files need PyAV, which is not installed."""


def import_av() -> ModuleType:
    """Return the module `av`.

    Raises:
        MissingPyAVError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPyAVError(
            f'video files need PyAV ({error}): pip install av; image folders and bags are read '
            f'without it, and every format but "overlay" is written without it'
        ) from error
    return av


def open_video(file: Path, mode: str = 'r', **options: Any) -> Any:
    """Open a video file with `av.open`; a name with a colon is not treated as a URL."""
    return import_av().open(f'file:{file}', mode, **options)


class VideoFile:
    """The upright frames of the first video stream of a file, as a VideoSource.

    Frame rates may vary. If times start over, as in joined files, later times are shifted. Cover
    images are skipped; damaged frames are skipped and reported.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and count its frames.

        Raises:
            SourceError: The file is not a video.
            MissingPyAVError: PyAV is not installed.
        """
        self.path = path
        self.files: Sequence[Path] = [path]
        with self._open() as (container, stream):
            self.count = stream.frames or _estimated_frames(container, stream)

    def read(self, since: int = 0, bits: int = 8) -> Iterator[VideoFrame]:
        """Yield the frames from the last key frame before `since` (ns) on."""
        with self._open() as (container, stream):
            if since and _can_seek(container, stream):
                _seek(container, stream, since)
            frames = self._decode(container, stream)
            first = next(frames, None)
            if first is not None and first.info.recorded <= since:
                yield first
                yield from frames
                return
        if not since:
            raise SourceError(f'{self.path} holds no frame that can be read')
        yield from self.read()  # The index of the file is wrong and led past `since`.

    @contextmanager
    def _open(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        av = import_av()
        from av.stream import Disposition

        try:
            # Open only this file: playlists may contain URLs.
            with open_video(self.path, options={'protocol_whitelist': 'file'}) as container:
                streams = [
                    stream
                    for stream in container.streams.video
                    if not stream.disposition & Disposition.attached_pic
                ]
                if not streams:
                    raise SourceError(f'{self.path} holds no video, only sound, text or a cover')
                stream = streams[0]
                stream.thread_type = 'AUTO'
                yield container, stream
        except av.FFmpegError as error:
            raise SourceError(
                f'{self.path} cannot be read as a video: {error.strerror}; pass an mp4, an image '
                f'folder or a bag'
            ) from error

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        step = round(NANO / (stream.average_rate or ASSUMED_RATE))
        time, offset = -step, 0
        for frame in self._decode_packets(container, stream):
            before, time = time, time + step
            if frame.pts is not None and frame.time_base:
                shown = round((frame.pts - _start(stream)) * frame.time_base * NANO)
                if shown + offset < before - NANO:  # The times start over.
                    offset = time - shown
                time = max(0, before, shown + offset)
            yield VideoFrame(image=_upright(frame), info=FrameInfo(stamp=time, recorded=time))

    def _decode_packets(self, container: InputContainer, stream: VideoStream) -> Iterator[AvFrame]:
        av = import_av()
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                logger.warning('%s: a damaged frame is skipped', self.path)


def _can_seek(container: InputContainer, stream: VideoStream) -> bool:
    """Return whether times are unique: a raw stream has none, and some formats may start over."""
    may_start_over = import_av().format.Flags.ts_discont.value
    return stream.start_time is not None and not container.format.flags & may_start_over


def _seek(container: InputContainer, stream: VideoStream, since: int) -> None:
    """Seek to a key frame before `since` (ns); stay at the start if that fails."""
    av = import_av()
    # One second early: seeking uses decoding times, which precede display times.
    begin = Fraction(max(0, since - NANO), NANO)
    with suppress(av.FFmpegError):
        container.seek(round(begin / (stream.time_base or 1)) + _start(stream), stream=stream)


def _start(stream: VideoStream) -> int:
    return stream.start_time or 0


def _estimated_frames(container: InputContainer, stream: VideoStream) -> int | None:
    """Estimate the number of frames from the duration."""
    if not container.duration or not stream.average_rate:
        return None
    return round(container.duration / 1_000_000 * stream.average_rate)


def _upright(frame: AvFrame) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB, rotated as the file's metadata say."""
    return np.rot90(frame.to_ndarray(format='rgb24'), round(frame.rotation / 90))


class VideoWriter:
    """Writes one mp4; images of another size are fitted into it.

    Raises:
        MissingPyAVError: PyAV is not installed.
    """

    def __init__(self, file: Path, size: tuple[int, int]) -> None:
        """Start a video of this height and width; odd sizes get a black row or column."""
        av = import_av()
        self._av = av
        self._file = file
        self._last = -1
        self._container: OutputContainer = open_video(_draft(file), 'w', format='mp4')
        encoder = next(name for name in ENCODERS if name in av.codecs_available)
        self._stream = self._container.add_stream(encoder, rate=30)
        self._height, self._width = size
        self._stream.height, self._stream.width = (side + side % 2 for side in size)
        self._stream.pix_fmt = 'yuv420p'
        self._stream.codec_context.time_base = Fraction(1, TICKS)
        # Segments can be joined only if frames are stored in display order.
        self._stream.codec_context.max_b_frames = 0

    def write(self, image: np.ndarray, time: int) -> None:
        """Add an (H, W, 3) uint8 RGB image, displayed from this time (ns) on."""
        fitted = ImageOps.pad(Image.fromarray(image), (self._width, self._height))
        canvas = np.zeros((self._stream.height, self._stream.width, 3), np.uint8)
        canvas[: self._height, : self._width] = fitted
        frame = self._av.VideoFrame.from_ndarray(canvas, format='rgb24')
        self._last = max(self._last + 1, round(time * TICKS / NANO))
        frame.pts = self._last
        frame.time_base = Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file and give it its final name."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        os.replace(_draft(self._file), self._file)


def _draft(file: Path) -> Path:
    return file.with_suffix('.new')


def write_overlays(
    source: VideoSource, record: CompleteRecord, names: Sequence[str], folder: Path
) -> None:
    """Write an overlay video for each instruction, with the times of the source's frames.

    An interrupted video cannot be appended to, so each video is written in segments of
    SEGMENT_FRAMES, which are joined without encoding them again. Complete segments are kept.

    Args:
        source: The frames.
        record: Their results.
        names: File name of each instruction.
        folder: Existing folder for the videos.

    Raises:
        MissingPyAVError: PyAV is not installed.
        SourceError: The source has changed.
    """
    segments = folder / 'segments'
    for name in names:
        (segments / name).mkdir(parents=True, exist_ok=True)
    first = record.first()
    done = min(len(list((segments / name).glob('*.mp4'))) for name in names)
    frames = _recorded_frames(source, record.read('overlay', done * SEGMENT_FRAMES))
    for number in itertools.count(done):
        head = next(frames, None)
        if head is None:
            break
        files = [segments / name / f'{number:06d}.mp4' for name in names]
        rest = itertools.islice(frames, SEGMENT_FRAMES - 1)
        _write_segment(itertools.chain([head], rest), files, first)
    for name in names:
        _join(sorted((segments / name).glob('*.mp4')), folder / f'{name}.mp4')
    shutil.rmtree(segments)


def _recorded_frames(
    source: VideoSource, records: Iterator[FrameRecord]
) -> Iterator[tuple[FrameRecord, np.ndarray]]:
    """Yield each record with the image of its frame."""
    head = next(records, None)
    if head is not None:
        frames = read_from(source, head.info)
        for record, frame in zip(itertools.chain([head], records), frames, strict=True):
            yield record, frame.image


def _write_segment(
    frames: Iterable[tuple[FrameRecord, np.ndarray]], files: Sequence[Path], first: FrameRecord
) -> None:
    """Write one segment of each video; times count from the first frame of the record."""
    writers = [VideoWriter(file, first.size) for file in files]
    for record, image in frames:
        time = record.info.recorded - first.info.recorded
        for writer, result in zip(writers, record.segmentations(), strict=True):
            writer.write(draw_overlay(image, result), time)
    for writer in writers:
        writer.close()


def _join(files: Sequence[Path], target: Path) -> None:
    """Join video files into one."""
    last = -1
    with open_video(_draft(target), 'w', format='mp4') as whole:
        for file in files:
            with open_video(file) as part:
                stream = part.streams.video[0]
                if not whole.streams.video:
                    whole.add_stream_from_template(stream)
                for packet in part.demux(stream):
                    if packet.dts is not None:  # The end of a file is a packet without times.
                        last = packet.dts = packet.pts = max(packet.pts, last + 1)
                        packet.stream = whole.streams.video[0]
                        whole.mux(packet)
    os.replace(_draft(target), target)
