"""Chooses objects by their place relative to others: in the bowl, left of the mug, between both.

The masks alone decide, for an image of a table that the camera sees at a slant: what stands higher
up in the image is farther away, and what a bowl or a plate carries hides a part of it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final

import numpy as np
from scipy.spatial import ConvexHull

from instructseg_ros.model.composition import BESIDE, SLANT, Answer, Operation, relative_distance

# All of these but `_SAME` are chosen with the true masks of 1,000 random scenes.
_LOWEST: Final = 0.2  # share of an object's pixels that are its lower end
_CARRIED: Final = 0.5  # share of the lower end that is within the outline of what carries it
_MIDDLE: Final = 0.1  # distance of the lower end from both sides of it, as a share of its width
_ENCLOSED: Final = 0.75  # share of an object within the outline of what carries it
# From an object's lowest row to the middle of its footprint; share of its box's smaller side.
_FOOT: Final = 0.3
# Position between two anchors, as a distance from the midpoint along the line that connects them,
# and as a distance from that line; shares of its length.
_ALONG: Final = 0.4
_ASIDE: Final = 0.35
_SAME: Final = 0.5  # intersection over union of two masks of one object


@dataclasses.dataclass(frozen=True, eq=False)
class _Silhouette:
    """The mask of one object, and where it stands.

    Args:
        mask: (H, W) bool with at least one True.
    """

    mask: np.ndarray = dataclasses.field(repr=False)

    @cached_property
    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the mask."""
        rows, columns = np.nonzero(self.mask)
        return rows, columns

    @cached_property
    def outline(self) -> np.ndarray:
        """(E, 3) a, b and c of the sides of the convex hull: a row + b column + c <= 0 inside.

        The hull has no gap where the object carries something.
        """
        rows = np.flatnonzero(self.mask.any(axis=1))
        first = self.mask[rows].argmax(axis=1)
        last = self.mask.shape[1] - 1 - self.mask[rows, ::-1].argmax(axis=1)
        ends = np.column_stack((np.tile(rows, 2), np.concatenate((first, last))))
        # The corners of the pixels, since the pixels may be in a line.
        corners = [ends + (row, column) for row in (-0.5, 0.5) for column in (-0.5, 0.5)]
        return ConvexHull(np.concatenate(corners)).equations

    def enclosed_share(self, pixels: tuple[np.ndarray, np.ndarray]) -> float:
        """Return the share of some pixels that are within the outline."""
        distances = np.column_stack(pixels) @ self.outline[:, :2].T + self.outline[:, 2]
        return float((distances <= 0).all(axis=1).mean())

    @cached_property
    def lower_end(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of its lowest pixels."""
        rows, columns = self.pixels
        low = rows >= np.quantile(rows, 1 - _LOWEST)
        return rows[low], columns[low]

    @cached_property
    def column(self) -> float:
        """Mean column."""
        return float(self.pixels[1].mean())

    @cached_property
    def row(self) -> float:
        """Mean row."""
        return float(self.pixels[0].mean())

    @cached_property
    def foot(self) -> float:
        """Row of the middle of the footprint, however tall the object is."""
        rows, columns = self.pixels
        return float(rows.max() - _FOOT * min(np.ptp(rows), np.ptp(columns)))

    def spans(self, column: float, margin: float = 0.0) -> bool:
        """Return whether a column is within the mask's columns, and `margin` (a share) inside."""
        first, last = self.pixels[1].min(), self.pixels[1].max()
        margin *= last - first + 1
        return bool(first + margin <= column <= last - margin)


def _carried(obj: _Silhouette, carrier: _Silhouette) -> float:
    """Return how certainly an object is in another one or on it, 0..2; 0 if it is not."""
    lower_end = carrier.enclosed_share(obj.lower_end)
    enclosed = carrier.enclosed_share(obj.pixels)
    column = float(np.median(obj.lower_end[1]))
    stands = lower_end >= _CARRIED and carrier.spans(column, _MIDDLE)
    return lower_end + enclosed if stands or enclosed >= _ENCLOSED else 0.0


def _touch(one: _Silhouette, other: _Silhouette) -> bool:
    """Return whether one of two objects is in the other or on it."""
    return _carried(one, other) > 0 or _carried(other, one) > 0


def _closeness(one: _Silhouette, other: _Silhouette) -> float:
    """Return a number in 0..1 that falls with the distance."""
    return 1.0 / (1.0 + relative_distance(one.mask, other.mask))


def _holding(obj: _Silhouette, anchor: _Silhouette) -> float:
    return _carried(anchor, obj)


def _beside(place: str, sign: int) -> Callable[[_Silhouette, _Silhouette], float]:
    """Return a relation of two objects that do not touch, by the order of their places.

    Args:
        place: Property of a silhouette: `column` or `foot`.
        sign: 1 if the first object has the larger value, -1 if it has the smaller one.
    """

    def fit(obj: _Silhouette, anchor: _Silhouette) -> float:
        is_beyond = sign * (getattr(obj, place) - getattr(anchor, place)) > 0
        return _closeness(obj, anchor) if is_beyond and not _touch(obj, anchor) else 0.0

    return fit


def _above(obj: _Silhouette, anchor: _Silhouette) -> float:
    """Prefer what the anchor carries to what is only higher up in the image."""
    if carried := _carried(obj, anchor):
        return 1.0 + carried
    is_higher = obj.pixels[0].max() < anchor.row and anchor.spans(obj.column)
    return _closeness(obj, anchor) if is_higher and not _carried(anchor, obj) else 0.0


def _below(obj: _Silhouette, anchor: _Silhouette) -> float:
    return _above(anchor, obj)


def _between(obj: _Silhouette, first: _Silhouette, second: _Silhouette) -> float:
    point, start, end = (
        np.array((each.column, each.foot * SLANT)) for each in (obj, first, second)
    )
    line = end - start
    squared = float(line @ line)
    if squared == 0 or _touch(obj, first) or _touch(obj, second):
        return 0.0
    offset = point - (start + end) / 2
    along = abs(float(offset @ line)) / squared
    aside = abs(float(offset[0] * line[1] - offset[1] * line[0])) / squared
    fits = along <= _ALONG and aside <= _ASIDE
    return 1.0 / (1.0 + np.hypot(along, aside)) if fits else 0.0


def _far(obj: _Silhouette, anchor: _Silhouette) -> float:
    distance = relative_distance(obj.mask, anchor.mask)
    return distance if distance > BESIDE else 0.0


# How well an object fits a relation to one anchor, or to two: 0 if it does not.
_FITS: Final[dict[str, Callable[..., float]]] = {
    'in': _carried,
    'on': _carried,
    'holding': _holding,
    'left': _beside('column', -1),
    'right': _beside('column', 1),
    'behind': _beside('foot', -1),
    'front': _beside('foot', 1),
    'above': _above,
    'below': _below,
    'between': _between,
    'far': _far,
}
RELATIONS: Final = tuple(_FITS)


@dataclasses.dataclass(frozen=True)
class Related(Operation):
    """The object of the first part in a relation to the others: "the star left of the mug".

    The first part are all candidates, the second is the anchor. "Between" has two anchors, either
    in a third part or both in the second.

    Args:
        relation: One of `RELATIONS`; 'holding' means that the anchor is in the object or on it.
        several: Whether all objects in this relation are meant, instead of the best one: the one
            nearest to the anchor; the farthest for 'far'; for 'in' and 'on', the one that overlaps
            the anchor most.

    Raises:
        ValueError: The relation is not one of `RELATIONS`.
    """

    relation: str
    several: bool = False

    def __post_init__(self) -> None:
        if self.relation not in _FITS:
            raise ValueError(f'relation {self.relation!r} must be one of {", ".join(RELATIONS)}')

    def combine(self, answers: Sequence[Answer]) -> Answer:
        """See `Operation`."""
        candidates, *anchors = answers
        carries = self.relation in ('holding', 'below')
        groups = self._groups([[_Silhouette(mask) for mask in each.objects()] for each in anchors])
        fitting = []
        for mask in _apart(candidates, anchors) if carries else _others(candidates, anchors):
            obj = _Silhouette(mask)
            fit = max((_FITS[self.relation](obj, *group) for group in groups), default=0.0)
            if fit > 0:
                fitting.append((fit, mask))
        fitting.sort(key=lambda each: -each[0])
        chosen = [mask for _, mask in fitting[: None if self.several else 1]]
        return candidates.only(chosen, min(each.score for each in answers))

    def _groups(self, anchors: list[list[_Silhouette]]) -> list[tuple[_Silhouette, ...]]:
        """Return the anchors that an object may be related to: one at a time, or two."""
        if self.relation == 'between' and len(anchors) == 1:
            return list(itertools.combinations(anchors[0], 2))
        return list(itertools.product(*anchors))


def _others(candidates: Answer, anchors: Sequence[Answer]) -> list[np.ndarray]:
    """Return the candidates but the anchors, as in "the object behind the star"."""
    mask = candidates.mask
    taken = [each for each in anchors if each.mask.any() and mask[each.mask].mean() >= _SAME]
    if not taken:
        return candidates.objects()
    anchor = dataclasses.replace(
        taken[0],
        probability=np.max([each.probability for each in taken], axis=0),
        centres=np.concatenate([_centres(each) for each in taken]),
    )
    return candidates.objects(without=anchor)


def _centres(answer: Answer) -> np.ndarray:
    """Return the (N, 2) rows and columns of the centres of an answer's objects."""
    if answer.centres is not None:
        return answer.centres
    centres = [np.argwhere(each).mean(axis=0) for each in answer.objects()]
    return np.reshape(centres, (-1, 2))


def _apart(candidates: Answer, anchors: Sequence[Answer]) -> list[np.ndarray]:
    """Return the candidates, but the anchors, without what they carry.

    The mask of a bowl may cover the star in it, which does not make the star the bowl.
    """
    taken = [mask for anchor in anchors for mask in anchor.objects()]
    masks = []
    for mask in candidates.objects():
        covered = [each for each in taken if mask[each].mean() >= _SAME]
        if not any((mask & each).sum() >= _SAME * (mask | each).sum() for each in covered):
            masks.append(np.logical_and.reduce([mask, *(~each for each in covered)]))
    return masks
