"""Pictures of a data set: named when it is read, opened when they are looked at."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Protocol

from PIL import Image

from instructseg_ros.streaming.image_files import read_rgb, read_size


class Picture(Protocol):
    """A picture that can be opened, and told from others without opening it."""

    def load(self) -> Image.Image:
        """RGB, upright.

        Raises:
            ValueError: it is damaged or no picture; the message names it and the remedy.
            OSError: it is missing.
        """
        ...

    def version(self) -> str:
        """Text that changes with the content, found without decoding; '' where it is missing."""
        ...

    def __hash__(self) -> int: ...

    def __str__(self) -> str:
        """Its file, for messages."""
        ...


@dataclasses.dataclass(frozen=True)
class PictureFile:
    """A picture on disk."""

    path: Path

    def load(self) -> Image.Image:
        """RGB, upright; see `Picture.load`."""
        return read_rgb(self.path)

    def size(self) -> tuple[int, int]:
        """(height, width), upright, from the header; see `load` for errors."""
        return read_size(self.path)

    def version(self) -> str:
        """Size and time of the file; see `Picture.version`."""
        return file_version(self.path)

    def __str__(self) -> str:
        return str(self.path)


@dataclasses.dataclass(frozen=True)
class PictureBytes:
    """A picture that is part of another file.

    Args:
        name: for messages.
        content: JPEG, PNG or another format of PIL.
    """

    name: str
    content: bytes = dataclasses.field(repr=False)

    def load(self) -> Image.Image:
        """RGB, upright; see `Picture.load`."""
        return read_rgb(self.content, self.name)

    def version(self) -> str:
        """Hash of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def __str__(self) -> str:
        return self.name


def file_version(file: Path) -> str:
    """Size in bytes and modification time in ns of a file; '' where it is missing."""
    try:
        status = file.stat()
    except OSError:
        return ''
    return f'{status.st_size} {status.st_mtime_ns}'
