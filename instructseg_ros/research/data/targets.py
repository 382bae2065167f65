"""Regions of a frame in the forms that data sets use; each is rasterised on demand."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from instructseg_ros.streaming.image_files import read_labels, read_mask, read_size
from instructseg_ros.video.rle import checked_size, decode_mask

# More distant corners are mistakes, and pycocotools crashes on them.
_MAX_COORDINATE: Final = 100_000
Ring = tuple[float, ...]
Size = tuple[int, int]


class Target(Protocol):
    """A region of a frame."""

    @property
    def size(self) -> Size:
        """Return the (height, width) of the mask without rasterising it; see `mask` for errors."""
        ...

    def mask(self) -> np.ndarray:
        """Rasterise the region.

        Returns:
            (H, W) bool in the size of the frame.

        Raises:
            ValueError: The region is damaged; the message says how.
            OSError: A file is missing or damaged.
        """
        ...


@dataclasses.dataclass(frozen=True)
class _Sized:
    """A region with a given size.

    Args:
        size: (height, width).
    """

    size: Size

    def __post_init__(self) -> None:
        checked_size(self.size)


@dataclasses.dataclass(frozen=True)
class EmptyMask(_Sized):
    """An empty region; see `_Sized`."""

    def mask(self) -> np.ndarray:
        """Return a (H, W) bool mask, all False."""
        return np.zeros(self.size, dtype=bool)


@dataclasses.dataclass(frozen=True)
class Polygons(_Sized):
    """Polygons whose corners are truncated to whole pixels, as the authors evaluate.

    Degenerate rings are drawn as `do_eval` of the authors' eval/seg/eval_res.py does: one corner is
    a pixel, two are a line, and an empty ring is nothing.

    Args:
        size: (height, width).
        rings: x, y, x, y, ... of each polygon in pixels.
    """

    rings: tuple[Ring, ...]

    def mask(self) -> np.ndarray:
        """Return the (H, W) bool union of the polygons with their outlines."""
        import cv2

        canvas = np.zeros(self.size, dtype=np.uint8)
        for ring in filter(len, self.rings):
            cv2.fillPoly(canvas, [_points(ring).astype(np.int32)], 1)
        return canvas.astype(bool)


@dataclasses.dataclass(frozen=True)
class CocoPolygons(_Sized):
    """Polygons as pycocotools rasterises them.

    Args:
        size: (height, width).
        rings: x, y, x, y, ... of each polygon in pixels.
    """

    rings: tuple[Ring, ...]

    def mask(self) -> np.ndarray:
        """Return the (H, W) bool union of the polygons."""
        from pycocotools import mask as coco

        for ring in self.rings:
            if np.abs(_corners(ring)).max() > _MAX_COORDINATE:
                raise ValueError(
                    f'a corner of a polygon is more than {_MAX_COORDINATE} pixels '
                    f'away: corners are x, y in pixels of the image: {ring[:8]}'
                )
        runs = coco.frPyObjects([list(ring) for ring in self.rings], *self.size)
        return coco.decode(coco.merge(runs)).astype(bool)


@dataclasses.dataclass(frozen=True)
class RunLengths:
    """COCO run lengths, compressed or plain; the counts are checked when the mask is decoded.

    Args:
        size: (height, width).
        counts: Counts as COCO writes them.
    """

    size: Size
    counts: str | tuple[int, ...]

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> RunLengths:
        """Parse {"size": [H, W], "counts": ...}.

        Raises:
            ValueError: The value is something else.
        """
        size, counts = value.get('size'), value.get('counts')
        if not isinstance(counts, str | list):
            raise ValueError(f'run lengths must have a size and counts, not {str(value)[:80]}')
        return cls(checked_size(size), counts if isinstance(counts, str) else tuple(counts))

    def mask(self) -> np.ndarray:
        """Decode the (H, W) bool mask."""
        return decode_mask({'size': self.size, 'counts': self.counts})


@dataclasses.dataclass(frozen=True)
class Union:
    """The union of regions of one frame.

    Args:
        parts: At least one region.
    """

    parts: tuple[Target, ...]

    @property
    def size(self) -> Size:
        """Return the (height, width) of the first part."""
        return self.parts[0].size

    def mask(self) -> np.ndarray:
        """Return the (H, W) bool union."""
        return np.logical_or.reduce([part.mask() for part in self.parts])


class Appearance:
    """The regions of an object in all frames of a video, or in an image; not all may be empty."""

    def __init__(self, targets: Sequence[Target], mistake: str) -> None:
        """Keep the regions without rasterising them.

        Args:
            targets: One region for each frame.
            mistake: Error message with the remedy, for the case that no region has a pixel.
        """
        self.targets = tuple(targets)
        self.mistake = mistake

    @functools.cached_property
    def empty(self) -> bool:
        """Return whether no frame shows the object."""
        return not any(target.mask().any() for target in self.targets)


@dataclasses.dataclass(frozen=True)
class CheckedTarget:
    """A region in one frame that may be empty only if another frame shows the object.

    A mask that is empty by mistake would teach that the object is absent.

    Args:
        target: The region in this frame.
        appearance: The regions in all frames.
    """

    target: Target
    appearance: Appearance

    @property
    def size(self) -> Size:
        """Return the (height, width); see `Target.size`."""
        return self.target.size

    def mask(self) -> np.ndarray:
        """Return the (H, W) bool mask; see `Target.mask`."""
        mask = self.target.mask()
        if not mask.any() and self.appearance.empty:
            raise ValueError(self.appearance.mistake)
        return mask


@dataclasses.dataclass(frozen=True)
class MaskFile:
    """A region in a mask or label image.

    Args:
        path: Image with one channel or a palette.
        value: Value of the region's pixels; None: every value except 0.
    """

    path: Path
    value: int | None = None

    @property
    def size(self) -> Size:
        """Read the (height, width) from the header of the file."""
        return read_size(self.path)

    def mask(self) -> np.ndarray:
        """Read the (H, W) bool mask."""
        if self.value is None:
            return read_mask(self.path)
        return np.asarray(read_labels(self.path) == self.value)


def _corners(ring: Ring) -> np.ndarray:
    """Return (N, 2) corners x, y of a polygon, which must have at least three."""
    if len(ring) < 6 or len(ring) % 2 or not np.isfinite(ring).all():
        raise ValueError(f'a polygon must have x and y of at least three corners: {ring[:8]}')
    return _points(ring)


def _points(ring: Ring) -> np.ndarray:
    """Return (N, 2) corners x, y."""
    if len(ring) % 2 or not np.isfinite(ring).all():
        raise ValueError(f'a polygon must have two numbers, x and y, for each corner: {ring[:8]}')
    return np.asarray(ring, dtype=float).reshape(-1, 2)
