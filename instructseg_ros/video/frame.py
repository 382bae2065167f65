"""What every source of frames gives, and how reading goes on from a frame that was read before."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

NANO = 10**9
logger = logging.getLogger(__name__)


class SourceError(ValueError):
    """Frames that cannot be read; the message names the file and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a frame is in its source.

    Attributes:
        stamp: When it was captured, ns; in films and folders since their first frame.
        recorded: Its time in the source, ns, which never goes back: a bag's log time, else `stamp`.
        name: Its file in a folder, else ''.
        frame_id: Coordinate frame of a bag's image, else ''.
        bits: How many of 16 bits the camera uses, as the frames up to this one have shown.
    """

    stamp: int
    recorded: int
    name: str = ''
    frame_id: str = ''
    bits: int = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoFrame:
    """One frame: (H, W, 3) uint8 RGB, and where it is in its source."""

    image: np.ndarray = field(repr=False)
    place: Place


class Source(Protocol):
    """Where frames come from.

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
            bits: Those of the place to begin at, so that images of 16 bits keep their scale.

        Raises:
            SourceError: The source cannot be read.
        """


def read_from(source: Source, place: Place) -> Iterator[VideoFrame]:
    """Yield the frame of a place in a source, and all after it.

    Raises:
        SourceError: There is no such frame.
    """
    # From the start, too: the times of a damaged or joined file may lead to a wrong place.
    for since in dict.fromkeys([place.recorded, 0]):
        frames = source.read(since, place.bits if since else 8)
        for frame in frames:
            if frame.place == place:
                yield frame
                yield from frames
                return
    raise SourceError(
        f'{source.path} is not what it was: its frame of {place.recorded / NANO:.3f} s is gone; '
        f'begin anew with --overwrite, or give another folder with --output'
    )


def readable(frames: Iterable[Callable[[], VideoFrame]]) -> Iterator[VideoFrame]:
    """Yield the frames that can be read, and report the others.

    Args:
        frames: Each reads one frame or raises a SourceError.

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
            logger.warning('a frame is left out: %s', error)
            continue
        is_empty = False
        yield frame
    if is_empty and first_error:
        raise first_error


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key for sorting that puts frame2 before frame10."""
    return [
        (int(part), '') if part.isdecimal() else (-1, part) for part in re.split(r'([0-9]+)', name)
    ]
