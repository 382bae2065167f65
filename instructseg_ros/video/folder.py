"""A folder of pictures as a source of frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from instructseg_ros.streaming.bit_depth import BitDepth
from instructseg_ros.streaming.image_files import ImageError, is_clutter, read_rgb
from instructseg_ros.video.frame import (
    NANO,
    Place,
    SourceError,
    VideoFrame,
    natural_order,
    readable,
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
            file for file in path.iterdir()
            if file.suffix.lower() in SUFFIXES and not is_clutter(file)]
        self._names = sorted((file.name for file in self.files), key=natural_order)
        self.count: int | None = len(self._names)
        if not self._names:
            raise SourceError(
                f'{path} holds neither a bag (metadata.yaml) nor pictures ({", ".join(SUFFIXES)})')
        [(stem, times)] = Counter(file.stem for file in self.files).most_common(1)
        if times > 1:
            raise SourceError(
                f'{path} holds {times} pictures called {stem}, whose masks would have one name: '
                f'leave one of them')

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
        return VideoFrame(image=image, place=Place(
            stamp=stamp, recorded=stamp, name=name, bits=depth.bits))
