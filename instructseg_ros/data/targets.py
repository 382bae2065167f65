"""Where a target is in a frame, in the forms in which data sets say so; rasterised when asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

Ring = tuple[float, ...]
Size = tuple[int, int]


class Target(Protocol):
    """A region of a frame."""

    @property
    def size(self) -> Size:
        """(height, width) of the mask, without rasterising it.

        Raises:
            ValueError, OSError: see `mask`.
        """
        ...

    def mask(self) -> np.ndarray:
        """(H, W) bool at the frame's size.

        Raises:
            ValueError: what the data set says is damaged; the message says how.
            OSError: a file is missing or damaged.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Nothing:
    """An empty region.

    Args:
        size: (height, width).
    """

    size: Size

    def mask(self) -> np.ndarray:
        """(H, W) bool, all False."""
        return np.zeros(self.size, dtype=bool)


@dataclasses.dataclass(frozen=True)
class Polygons:
    """Polygons as the authors' evaluation draws them: their corners cut to whole pixels.

    A degenerate ring is filled as it is, as there (`do_eval` of the authors' eval/seg/eval_res.py):
    one corner is a pixel, two are a line, and an empty ring is nothing.

    Args:
        size: (height, width).
        rings: x, y, x, y, ... of each polygon.
    """

    size: Size
    rings: tuple[Ring, ...]

    def mask(self) -> np.ndarray:
        """(H, W) bool, the union of the polygons with their outlines."""
        import cv2

        canvas = np.zeros(self.size, dtype=np.uint8)
        for ring in filter(len, self.rings):
            cv2.fillPoly(canvas, [_points(ring).astype(np.int32)], 1)
        return canvas.astype(bool)


@dataclasses.dataclass(frozen=True)
class CocoPolygons:
    """Polygons as COCO's own tools rasterise them.

    Args:
        size: (height, width).
        rings: x, y, x, y, ... of each polygon.
    """

    size: Size
    rings: tuple[Ring, ...]

    def mask(self) -> np.ndarray:
        """(H, W) bool, the union of the polygons."""
        from pycocotools import mask as coco

        for ring in self.rings:
            _corners(ring)
        runs = coco.frPyObjects([list(ring) for ring in self.rings], *self.size)
        return coco.decode(coco.merge(runs)).astype(bool)


@dataclasses.dataclass(frozen=True)
class RunLengths:
    """COCO's run lengths, compressed text or plain counts.

    Args:
        size: (height, width).
        counts: as COCO writes them.
    """

    size: Size
    counts: str | tuple[int, ...]

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> RunLengths:
        """Read {"size": [H, W], "counts": ...}.

        Raises:
            ValueError: it is something else.
        """
        size, counts = value.get('size'), value.get('counts')
        if not (isinstance(size, Sequence) and len(size) == 2 and isinstance(counts, str | list)):
            raise ValueError(f'run lengths have a size and counts, not {str(value)[:80]}')
        height, width = (int(length) for length in size)
        return cls((height, width), counts if isinstance(counts, str) else tuple(counts))

    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        from pycocotools import mask as coco

        value: dict[str, Any] = {'size': list(self.size), 'counts': self.counts}
        if isinstance(self.counts, tuple):
            if sum(self.counts) != self.size[0] * self.size[1]:
                raise ValueError(f'run lengths do not fill {self.size[0]} x {self.size[1]} pixels')
            value = coco.frPyObjects(value | {'counts': list(self.counts)}, *self.size)
        return coco.decode(value).astype(bool)


@dataclasses.dataclass(frozen=True)
class Union:
    """Several regions of one frame as one.

    Args:
        parts: at least one.
    """

    parts: tuple[Target, ...]

    @property
    def size(self) -> Size:
        """(height, width), that of the first part."""
        return self.parts[0].size

    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        return np.logical_or.reduce([part.mask() for part in self.parts])


@dataclasses.dataclass(frozen=True)
class MaskFile:
    """A mask in a picture file.

    Args:
        path: of a picture of one channel, or with a palette.
        value: that the region's pixels have; None: all that are not 0.
    """

    path: Path
    value: int | None = None

    @property
    def size(self) -> Size:
        """(height, width), from the file's header."""
        try:
            with Image.open(self.path) as image:
                return image.height, image.width
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise OSError(f'{self.path}: not a readable mask ({error})') from error

    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        try:
            with Image.open(self.path) as image:
                values = np.array(image if image.mode in ('L', 'P', '1', 'I;16') else
                                  image.convert('L'))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise OSError(f'{self.path}: not a readable mask ({error})') from error
        return values != 0 if self.value is None else values == self.value


def _corners(ring: Ring) -> np.ndarray:
    """(N, 2) x, y."""
    if len(ring) < 6 or len(ring) % 2 or not np.isfinite(ring).all():
        raise ValueError(f'a polygon has at least three corners, x and y of each: {ring[:8]}')
    return _points(ring)


def _points(ring: Ring) -> np.ndarray:
    """(N, 2) x, y."""
    if len(ring) % 2 or not np.isfinite(ring).all():
        raise ValueError(f'a polygon has x and y of each corner, two numbers: {ring[:8]}')
    return np.asarray(ring, dtype=float).reshape(-1, 2)
