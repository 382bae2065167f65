"""What is alike goes through the model together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')


def alike(kinds: Iterable[Hashable]) -> list[list[int]]:
    """Places of each kind, in the order in which the kinds appear."""
    places: dict[Hashable, list[int]] = {}
    for place, kind in enumerate(kinds):
        places.setdefault(kind, []).append(place)
    return list(places.values())


def in_batches(
    items: Sequence[Item],
    kinds: Iterable[Hashable],
    work: Callable[[Sequence[Item]], Sequence[Result]],
) -> list[Result]:
    """Work on the items of each kind in one batch.

    Args:
        items: what to work on.
        kinds: of each item.
        work: gives one result for each item of a batch.

    Returns:
        the results in the order of the items.
    """
    results: dict[int, Result] = {}
    for places in alike(kinds):
        results.update(zip(places, work([items[place] for place in places]), strict=True))
    return [results[place] for place in range(len(items))]
