"""What every source of frames gives, and how reading goes on from a frame that was read before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

NANO = 10**9


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
    """

    stamp: int
    recorded: int
    name: str = ''
    frame_id: str = ''


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoFrame:
    """One frame: (H, W, 3) uint8 RGB, and where it is in its source."""

    image: np.ndarray = field(repr=False)
    place: Place


class Source(Protocol):
    """Where frames come from.

    Attributes:
        path: The file or folder.
        count: How many frames there are, as far as the source tells; None: it does not.
    """

    path: Path
    count: int | None

    def read(self, since: int = 0) -> Iterator[VideoFrame]:
        """Yield all frames recorded at `since` (ns) or later, perhaps after some earlier ones.

        Raises:
            SourceError: The source cannot be read.
        """


def read_from(source: Source, place: Place) -> Iterator[VideoFrame]:
    """Yield the frame of a place in a source, and all after it.

    Raises:
        SourceError: There is no such frame.
    """
    frames = source.read(place.recorded)
    for frame in frames:
        if frame.place == place:
            yield frame
            yield from frames
            return
    raise SourceError(
        f'{source.path} is not what it was: its frame of {place.recorded / NANO:.3f} s is gone; '
        f'begin anew with --overwrite, or give another folder with --output')
