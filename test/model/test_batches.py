from __future__ import annotations

from collections.abc import Sequence

from instructseg_ros.model.batches import alike, in_batches


def test_places_of_a_kind_are_together_in_their_order() -> None:
    assert alike('abacb') == [[0, 2], [1, 4], [3]]
    assert alike([]) == []


def test_items_of_a_kind_are_one_batch_and_results_are_in_the_order_of_the_items() -> None:
    batches: list[Sequence[str]] = []

    def work(batch: Sequence[str]) -> list[str]:
        batches.append(batch)
        return [item.upper() for item in batch]

    items = ['red', 'a', 'mug', 'b', 'ball']
    assert in_batches(items, map(len, items), work) == ['RED', 'A', 'MUG', 'B', 'BALL']
    assert batches == [['red', 'mug'], ['a', 'b'], ['ball']]
