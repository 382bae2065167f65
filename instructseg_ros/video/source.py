"""Opens any source of frames: a video file, a folder of images or a bag."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from instructseg_ros.model.model_files import is_lfs_pointer
from instructseg_ros.streaming.encodings import BitDepth
from instructseg_ros.streaming.image_files import ImageError, is_clutter, read_rgb
from instructseg_ros.video.frame import (
    NANO,
    Place,
    Source,
    SourceError,
    VideoFrame,
    natural_order,
    readable,
)

STORAGE = ('.mcap', '.db3')  # Files of bags.


def open_source(path: Path, *, topic: str | None = None) -> Source:
    """Return the frames of a film, of a folder of pictures, or of a bag (MCAP or rosbag2).

    Args:
        path: The file, or a folder.
        topic: Which images of a bag; None where it holds only one topic of images.

    Raises:
        SourceError: It cannot be read, or it is not clear which images are meant.
        FileNotFoundError: There is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(f'{path} does not exist')
    _refuse_other_kinds(path)
    if path.suffix in STORAGE or is_bag_folder(path):
        from instructseg_ros.video.bag import Bag

        return Bag(path, topic=topic)
    if topic is not None:
        raise SourceError(f'{path} is not a bag and has no topics: leave --topic out')
    if path.is_dir():
        return Folder(path)
    from instructseg_ros.video.video_file import VideoFile

    return VideoFile(path)


def is_bag_folder(path: Path) -> bool:
    """Whether a path is the folder of a bag: a recording that was killed leaves no metadata."""
    return path.is_dir() and ((path / 'metadata.yaml').is_file() or bool(storage_files(path)))


def storage_files(folder: Path) -> list[Path]:
    """Return the storage files in a folder, in the order of the numbers in their names."""
    files = [file for file in folder.iterdir() if file.suffix in STORAGE and not is_clutter(file)]
    return sorted(files, key=lambda file: natural_order(file.name))


def _refuse_other_kinds(path: Path) -> None:
    """Raise a SourceError with the remedy for what only looks like frames."""
    if path.suffix == '.bag' and path.is_file():
        source, target = (shlex.quote(str(each)) for each in (path, path.with_suffix('')))
        raise SourceError(
            f'{path} is a ROS 1 bag: convert it with `rosbags-convert --src {source} --dst '
            f'{target} --dst-typestore ros2_humble`, and give that folder'
        )
    for file in storage_files(path) if path.is_dir() else [path]:
        if file.is_file() and is_lfs_pointer(file):
            raise SourceError(
                f'{file} is only a pointer to its content: run `git lfs pull` in '
                f'{file.resolve().parent}'
            )


SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
RATE = 15  # frames a second: pictures do not tell


class Folder:
    """The pictures of a folder in the order of their names, where frame2 comes before frame10."""

    def __init__(self, path: Path) -> None:
        """List the folder.

        Raises:
            SourceError: It holds no picture, or two whose masks would have the same name.
        """
        self.path = path
        self.files: Sequence[Path] = [
            file
            for file in path.iterdir()
            if file.suffix.lower() in SUFFIXES and not is_clutter(file)
        ]
        self._names = sorted((file.name for file in self.files), key=natural_order)
        self.count: int | None = len(self._names)
        if not self._names:
            raise SourceError(
                f'{path} holds neither a bag (metadata.yaml) nor pictures ({", ".join(SUFFIXES)})'
            )
        [(stem, times)] = Counter(file.stem for file in self.files).most_common(1)
        if times > 1:
            raise SourceError(
                f'{path} holds {times} pictures called {stem}, whose masks would have one name: '
                f'leave one of them'
            )

    def read(self, since: int = 0, bits: int = 8) -> Iterator[VideoFrame]:
        """Yield the pictures from the one recorded at `since` (ns) on; report unreadable ones.

        Raises:
            SourceError: None can be read.
        """
        numbers = range(since * RATE // NANO, len(self._names))
        depth = BitDepth(bits)
        yield from readable(partial(self._frame, number, depth) for number in numbers)

    def _frame(self, number: int, depth: BitDepth) -> VideoFrame:
        name = self._names[number]
        stamp = -(-number * NANO // RATE)  # Rounded up, so that `since` leads back to it.
        try:
            image = np.array(read_rgb(self.path / name, bits=depth))
        except (OSError, ImageError) as error:
            raise SourceError(str(error)) from error
        return VideoFrame(
            image=image, place=Place(stamp=stamp, recorded=stamp, name=name, bits=depth.bits)
        )
