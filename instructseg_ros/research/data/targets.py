"""Where a target is in a frame, in the forms in which data sets say so; rasterised when asked."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from instructseg_ros.streaming import image_files
from instructseg_ros.video.rle import checked_size, decode_mask

# Corners farther out are mistakes, and pycocotools crashes on them.
_FARTHEST_CORNER: Final = 100_000
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

    def __post_init__(self) -> None:
        checked_size(self.size)

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

    def __post_init__(self) -> None:
        checked_size(self.size)

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

    def __post_init__(self) -> None:
        checked_size(self.size)

    def mask(self) -> np.ndarray:
        """(H, W) bool, the union of the polygons."""
        from pycocotools import mask as coco

        for ring in self.rings:
            if np.abs(_corners(ring)).max() > _FARTHEST_CORNER:
                raise ValueError(
                    f'a corner of a polygon is more than {_FARTHEST_CORNER} pixels '
                    f'away: corners are x, y in pixels of the picture: {ring[:8]}'
                )
        runs = coco.frPyObjects([list(ring) for ring in self.rings], *self.size)
        return coco.decode(coco.merge(runs)).astype(bool)


@dataclasses.dataclass(frozen=True)
class RunLengths:
    """COCO's run lengths, compressed text or plain counts, which are checked when they are decoded.

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
        if not isinstance(counts, str | list):
            raise ValueError(f'run lengths have a size and counts, not {str(value)[:80]}')
        return cls(checked_size(size), counts if isinstance(counts, str) else tuple(counts))

    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        return decode_mask({'size': self.size, 'counts': self.counts})


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


class Appearance:
    """The regions of an object in an image or in all frames of a video, at least one not empty."""

    def __init__(self, targets: Sequence[Target], mistake: str) -> None:
        """Keep the regions without rasterising them.

        Args:
            targets: one for each frame.
            mistake: error message, with the remedy, for the case that no region has a pixel.
        """
        self.targets = tuple(targets)
        self.mistake = mistake

    @functools.cached_property
    def empty(self) -> bool:
        """Whether no frame shows the object."""
        return not any(target.mask().any() for target in self.targets)


@dataclasses.dataclass(frozen=True)
class Seen:
    """A region in one frame that may be empty only if another frame shows the object.

    Masks that are empty by mistake would teach that the object is not there.

    Args:
        target: the region in this frame.
        appearance: the regions in all frames.
    """

    target: Target
    appearance: Appearance

    @property
    def size(self) -> Size:
        """(height, width); see `Target.size`."""
        return self.target.size

    def mask(self) -> np.ndarray:
        """(H, W) bool; see `Target.mask`."""
        mask = self.target.mask()
        if not mask.any() and self.appearance.empty:
            raise ValueError(self.appearance.mistake)
        return mask


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
        return image_files.read_size(self.path)

    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        if self.value is None:
            return image_files.read_mask(self.path)
        return np.asarray(image_files.read_labels(self.path) == self.value)


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
