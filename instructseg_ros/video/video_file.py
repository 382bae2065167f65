"""Reads frames from a video file (mp4 and similar) through PyAV."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from instructseg_ros.video.frame import NANO, Place, SourceError, VideoFrame

if TYPE_CHECKING:
    from av import VideoStream
    from av.container import InputContainer
    from av.video.frame import VideoFrame as AvFrame


class MissingPyAVError(RuntimeError):
    """Films need PyAV, and it is not installed."""


def import_av() -> ModuleType:
    """Return the module `av`.

    Raises:
        MissingPyAVError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPyAVError(
            f'films need PyAV ({error}): pip install av; pictures and bags are read without it, '
            f'and every format but "overlay" is written without it'
        ) from error
    return av


def open_film(file: Path, mode: str = 'r', **options: Any) -> Any:
    """Open a film with `av.open`; a name with a colon is a file too, not an address."""
    return import_av().open(f'file:{file}', mode, **options)


logger = logging.getLogger(__name__)
ASSUMED_RATE = 25  # frames a second, of a raw stream that does not tell


class VideoFile:
    """The frames of a film's first video stream, upright, each with its own time.

    Rates may vary, and times that start over, as in files that were joined, continue instead. A
    cover image is no video stream. Damaged frames are left out and reported in the log.
    """

    def __init__(self, path: Path) -> None:
        """Look at the file.

        Raises:
            SourceError: PyAV is not installed, or the file is no film.
        """
        self.path = path
        self.files: Sequence[Path] = [path]
        with self._open() as (container, stream):
            self.count = stream.frames or _estimated(container, stream)

    def read(self, since: int = 0, bits: int = 8) -> Iterator[VideoFrame]:
        """Yield the frames from the last key frame before `since` (ns) on."""
        with self._open() as (container, stream):
            if since and _can_seek(container, stream):
                _seek(container, stream, since)
            frames = self._decode(container, stream)
            first = next(frames, None)
            if first is not None and first.place.recorded <= since:
                yield first
                yield from frames
                return
        if not since:
            raise SourceError(f'{self.path} holds no frame that can be read')
        yield from self.read()  # too far: the file's index is wrong

    @contextmanager
    def _open(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        av = import_av()
        from av.stream import Disposition

        try:
            # Nothing but this file: playlists may name addresses.
            with open_film(self.path, options={'protocol_whitelist': 'file'}) as container:
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
                f'{self.path} cannot be read as a film: {error.strerror}; give an mp4, a folder '
                f'of pictures or a bag'
            ) from error

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        step = round(NANO / (stream.average_rate or ASSUMED_RATE))
        time, offset = -step, 0
        for frame in self._pictures(container, stream):
            before, time = time, time + step
            if frame.pts is not None and frame.time_base:
                shown = round((frame.pts - _origin(stream)) * frame.time_base * NANO)
                if shown + offset < before - NANO:  # The times start over.
                    offset = time - shown
                time = max(0, before, shown + offset)
            yield VideoFrame(image=_upright(frame), place=Place(stamp=time, recorded=time))

    def _pictures(self, container: InputContainer, stream: VideoStream) -> Iterator[AvFrame]:
        av = import_av()
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                logger.warning('%s: a damaged frame is left out', self.path)


def _can_seek(container: InputContainer, stream: VideoStream) -> bool:
    """Whether a time stands for one place: a raw stream has no times, others may start over."""
    may_start_over = import_av().format.Flags.ts_discont.value
    return stream.start_time is not None and not container.format.flags & may_start_over


def _seek(container: InputContainer, stream: VideoStream, since: int) -> None:
    """Go to a key frame before `since` (ns), or stay at the start where that cannot be done."""
    av = import_av()
    # A second early: what is sought is when a frame is decoded, before it is shown.
    begin = Fraction(max(0, since - NANO), NANO)
    with suppress(av.FFmpegError):
        container.seek(round(begin / (stream.time_base or 1)) + _origin(stream), stream=stream)


def _origin(stream: VideoStream) -> int:
    return stream.start_time or 0


def _estimated(container: InputContainer, stream: VideoStream) -> int | None:
    """Number of frames, from the film's length."""
    if not container.duration or not stream.average_rate:
        return None
    return round(container.duration / 1_000_000 * stream.average_rate)


def _upright(frame: AvFrame) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as the camera was held."""
    return np.rot90(frame.to_ndarray(format='rgb24'), round(frame.rotation / 90))
