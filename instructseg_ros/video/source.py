"""Opens any source of video frames (video file, image folder or bag), and resumes reading it."""

from __future__ import annotations

import logging
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.model.model_files import explain_lfs_pointer, is_lfs_pointer
from instructseg_ros.streaming.encodings import BitDepth
from instructseg_ros.streaming.image_files import ImageError, is_clutter, read_rgb

STORAGE_SUFFIXES: Final = ('.mcap', '.db3')
IMAGE_SUFFIXES: Final = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
FOLDER_RATE: Final = 15  # frames per second of an image folder, which does not state its rate
logger = logging.getLogger(__name__)


class SourceError(ValueError):
    """Frames cannot be read; the error names the file and how to fix it."""


@dataclass(frozen=True, kw_only=True)
class FrameInfo:
    """Time and origin of a frame, which identify it in its source.

    Attributes:
        stamp: Capture time, ns; in video files and folders, counted from the first frame.
        recorded: Time in the source, ns, never decreasing: a bag's log time, else `stamp`.
        name: File name in a folder, else ''.
        frame_id: Coordinate frame of a bag's image, else ''.
        bits: Bit depth of the camera, inferred from the frames up to this one.
    """

    stamp: int
    recorded: int
    name: str = ''
    frame_id: str = ''
    bits: int = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoFrame:
    """One frame: its (H, W, 3) uint8 RGB image, time and origin."""

    image: np.ndarray = field(repr=False)
    info: FrameInfo


class VideoSource(Protocol):
    """A source of frames.

    Attributes:
        path: The file or folder.
        count: Number of frames, if the source states it; otherwise None.
        files: The files that it reads.
    """

    path: Path
    files: Sequence[Path]
    count: int | None

    def read(self, since: int = 0, bits: int = 8) -> Iterator[VideoFrame]:
        """Yield all frames recorded at `since` (ns) or later, perhaps after some earlier ones.

        Args:
            since: Time in the source, ns.
            bits: Bit depth at that time, so that 16-bit images keep their scale.

        Raises:
            SourceError: The source cannot be read.
        """


def open_source(path: Path, *, topic: str | None = None) -> VideoSource:
    """Open a video file, an image folder, or a bag (MCAP or rosbag2).

    Args:
        path: The file or folder.
        topic: Image topic of a bag; None if the bag has only one.

    Raises:
        SourceError: It cannot be read, or the topic is ambiguous.
        FileNotFoundError: There is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(f'{path} does not exist')
    _refuse_other_kinds(path)
    if path.suffix in STORAGE_SUFFIXES or is_bag_folder(path):
        from instructseg_ros.video.bag import BagImages

        return BagImages(path, topic=topic)
    if topic is not None:
        raise SourceError(f'{path} is not a bag and has no topics: leave --topic out')
    if path.is_dir():
        return ImageFolder(path)
    from instructseg_ros.video.video_file import VideoFile

    return VideoFile(path)


def is_bag_folder(path: Path) -> bool:
    """Return whether a path is a bag folder, with or without metadata.yaml."""
    return path.is_dir() and ((path / 'metadata.yaml').is_file() or bool(storage_files(path)))


def storage_files(path: Path) -> list[Path]:
    """Return the storage files of a bag, in the order of the numbers in their names."""
    if not path.is_dir():
        return [path]
    files = [
        file for file in path.iterdir() if file.suffix in STORAGE_SUFFIXES and not is_clutter(file)
    ]
    return sorted(files, key=lambda file: _natural_order(file.name))


def _natural_order(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts frame2 before frame10."""
    return [
        (int(part), '') if part.isdecimal() else (-1, part) for part in re.split(r'([0-9]+)', name)
    ]


def _refuse_other_kinds(path: Path) -> None:
    """Raise a SourceError with the remedy for ROS 1 bags and git-lfs pointers."""
    if path.suffix == '.bag' and path.is_file():
        source, target = (shlex.quote(str(each)) for each in (path, path.with_suffix('')))
        raise SourceError(
            f'{path} is a ROS 1 bag: convert it with `rosbags-convert --src {source} --dst '
            f'{target} --dst-typestore ros2_humble`, and pass that folder'
        )
    refuse_lfs_pointers(path)


def refuse_lfs_pointers(path: Path) -> None:
    """Check that git-lfs has fetched a file, or the storage files of a bag folder.

    Raises:
        SourceError: It is only a pointer; the error names the command that fetches it.
    """
    for file in storage_files(path):
        if file.is_file() and is_lfs_pointer(file):
            raise SourceError(explain_lfs_pointer(file))


def read_from(source: VideoSource, info: FrameInfo) -> Iterator[VideoFrame]:
    """Yield a known frame of a source, and all frames after it.

    Raises:
        SourceError: There is no such frame.
    """
    # Fall back to the start: the times of a damaged or joined file may lead to a wrong position.
    for since in dict.fromkeys([info.recorded, 0]):
        frames = source.read(since, info.bits if since else 8)
        for frame in frames:
            if frame.info == info:
                yield frame
                yield from frames
                return
    raise SourceError(
        f'{source.path} has changed: its frame at {info.recorded / NANO:.3f} s is gone; start '
        f'again with --overwrite, or name another folder with --output'
    )


def skip_unreadable(frames: Iterable[Callable[[], VideoFrame]]) -> Iterator[VideoFrame]:
    """Yield the frames that can be read, and report the others.

    Args:
        frames: Functions that read one frame each, or raise a SourceError.

    Raises:
        SourceError: There are frames, but none can be read.
    """
    first_error: SourceError | None = None
    is_empty = True
    for read in frames:
        try:
            frame = read()
        except SourceError as error:
            first_error = first_error or error
            logger.warning('a frame is skipped: %s', error)
            continue
        is_empty = False
        yield frame
    if is_empty and first_error:
        raise first_error


class ImageFolder:
    """The images of a folder in the order of their names, where frame2 precedes frame10."""

    def __init__(self, path: Path) -> None:
        """List the folder.

        Raises:
            SourceError: It holds no image, or two whose masks would have the same name.
        """
        self.path = path
        self.files: Sequence[Path] = [
            file
            for file in path.iterdir()
            if file.suffix.lower() in IMAGE_SUFFIXES and not is_clutter(file)
        ]
        self._names = sorted((file.name for file in self.files), key=_natural_order)
        self.count: int | None = len(self._names)
        if not self._names:
            raise SourceError(
                f'{path} holds neither a bag (metadata.yaml) nor images '
                f'({", ".join(IMAGE_SUFFIXES)})'
            )
        [(stem, times)] = Counter(file.stem for file in self.files).most_common(1)
        if times > 1:
            raise SourceError(
                f'{path} holds {times} images named {stem}, whose masks would have one name: '
                f'keep one of them'
            )

    def read(self, since: int = 0, bits: int = 8) -> Iterator[VideoFrame]:
        """Yield the images recorded at `since` (ns) or later; report unreadable ones.

        Raises:
            SourceError: None can be read.
        """
        numbers = range(since * FOLDER_RATE // NANO, len(self._names))
        depth = BitDepth(bits)
        yield from skip_unreadable(partial(self._frame, number, depth) for number in numbers)

    def _frame(self, number: int, depth: BitDepth) -> VideoFrame:
        name = self._names[number]
        stamp = -(-number * NANO // FOLDER_RATE)  # Rounded up, so that `since` leads to this frame.
        try:
            image = np.array(read_rgb(self.path / name, bits=depth))
        except (OSError, ImageError) as error:
            raise SourceError(str(error)) from error
        info = FrameInfo(stamp=stamp, recorded=stamp, name=name, bits=depth.bits)
        return VideoFrame(image=image, info=info)
