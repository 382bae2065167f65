"""Pictures of a data set: named when it is read, opened when they are looked at."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Protocol

from PIL import Image, ImageOps

# Of a picture that is opened; beyond it a file is damaged or hostile.
_MOST_PIXELS = 100_000_000


class Picture(Protocol):
    """A picture that can be opened, and told from others without opening it."""

    def load(self) -> Image.Image:
        """RGB, upright.

        Raises:
            OSError: it is missing or damaged; the message names it.
        """
        ...

    def __hash__(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class PictureFile:
    """A picture on disk."""

    path: Path

    def load(self) -> Image.Image:
        """RGB, upright; see `Picture.load`."""
        return _decoded(self.path, str(self.path))

    def size(self) -> tuple[int, int]:
        """(height, width), upright; see `load`."""
        image = self.load()
        return image.height, image.width


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
        return _decoded(io.BytesIO(self.content), self.name)


def _decoded(source: Path | io.BytesIO, name: str) -> Image.Image:
    try:
        with Image.open(source) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise OSError(f'{image.width}x{image.height} pixels are more than a picture has')
            return ImageOps.exif_transpose(image).convert('RGB')
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise OSError(f'{name}: not a readable picture ({error})') from error
