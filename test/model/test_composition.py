from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from instructseg_ros.model.composition import (
    AllOf,
    Answer,
    InOrder,
    Nearest,
    OneOf,
    Without,
    label_components,
)

SIZE = (40, 80)


def answered(probability: np.ndarray, score: float) -> Answer:
    return Answer(probability=probability, score=score, found=score >= 0.3, present=score >= 0.15)


def answer(*columns: int, score: float = 0.9, row: int = 20) -> Answer:
    """Return an answer with a square of 8 pixels around each column."""
    probability = np.full(SIZE, 0.1, np.float32)
    for column in columns:
        probability[row - 4 : row + 4, column - 4 : column + 4] = 0.8
    return answered(probability, score if columns else 0.0)


def columns(result: Answer) -> list[int]:
    """Return the centre columns of what was found, from left to right."""
    return sorted(round(np.nonzero(part)[1].mean() + 0.5) for part in result.objects())


NOTHING = answer()


def test_all_of_several_answers_are_joined_with_the_lowest_score() -> None:
    result = AllOf().combine([answer(10, score=0.9), answer(50, score=0.6)])
    assert (columns(result), result.score) == ([10, 50], 0.6)


def test_a_missing_part_is_left_out_of_all() -> None:
    assert columns(AllOf().combine([answer(10), NOTHING])) == [10]
    assert AllOf().combine([NOTHING, NOTHING]).score == 0


def test_of_alternatives_the_one_that_is_there_is_taken() -> None:
    assert columns(OneOf().combine([NOTHING, answer(50)])) == [50]
    assert columns(OneOf().combine([answer(10, score=0.5), answer(50, score=0.8)])) == [50]


@pytest.mark.parametrize(
    ('operation', 'expected'),
    [
        (InOrder('left', first=2, last=2), [30]),
        (InOrder('right', first=1, last=1), [70]),
        (InOrder('right', first=1, last=2), [50, 70]),
        (InOrder('left', first=3, last=3), [50]),
    ],
)
def test_an_order_runs_from_a_side(operation: InOrder, expected: list[int]) -> None:
    assert columns(operation.combine([answer(10, 30, 50, 70), NOTHING])) == expected


def test_an_order_from_front_to_back_begins_at_the_bottom() -> None:
    row = np.maximum(answer(10, row=10).probability, answer(30, row=30).probability)
    both = answered(row, 0.9)
    assert columns(InOrder('front').combine([both, NOTHING])) == [30]
    assert columns(InOrder('back').combine([both, NOTHING])) == [10]


def test_sizes_are_compared_as_if_all_were_equally_far_away() -> None:
    probability = answer(10, row=6).probability
    probability[22:32, 45:55] = 0.8  # larger in the picture, but nearer
    both = answered(probability, 0.9)
    assert columns(InOrder('large').combine([both, NOTHING])) == [10]
    assert columns(InOrder('small').combine([both, NOTHING])) == [50]


def test_the_middle_is_that_of_three() -> None:
    assert columns(
        InOrder('left', first=2, last=2, of=3).combine([answer(10, 30, 70), NOTHING])
    ) == [30]
    assert columns(
        InOrder('left', first=2, last=2, of=3).combine([answer(10, 30), answer(70)])
    ) == [70]


def test_an_order_that_is_too_short_gets_the_answer_to_the_whole_instruction() -> None:
    assert columns(InOrder('left', first=3, last=3).combine([answer(10, 30), answer(30)])) == [30]
    assert InOrder('left', first=3, last=3).combine([answer(10, 30), NOTHING]).score == 0


def test_the_nearest_object_is_beside_an_anchor_and_is_not_the_anchor() -> None:
    assert columns(Nearest().combine([answer(10, 30, 50), answer(50)])) == [30]


def test_an_object_far_away_is_not_beside_the_anchor() -> None:
    assert Nearest().combine([answer(10), answer(70)]).score == 0
    assert Nearest().combine([answer(10), NOTHING]).score == 0
    assert Nearest().combine([NOTHING, answer(10)]).score == 0


def test_what_is_ruled_out_is_removed_from_the_answer() -> None:
    assert columns(Without().combine([answer(10, 30), answer(10, 30, 50), answer(30)])) == [10]


def test_an_answer_that_is_ruled_out_is_replaced_by_what_else_fits() -> None:
    assert columns(Without().combine([answer(30), answer(10, 30), answer(30)])) == [10]
    assert Without().combine([answer(30), answer(30), answer(30)]).score == 0


def test_specks_are_no_objects() -> None:
    speck = answer(10, 30)
    speck.probability[0, 79] = 0.9
    assert columns(speck) == [10, 30]


def pointed(result: Answer, *centres: tuple[float, float]) -> Answer:
    return dataclasses.replace(result, centres=np.array(centres, float))


def test_there_is_an_object_at_every_centre() -> None:
    touching = pointed(answer(10, 18, 50), (19.5, 9.5), (19.5, 17.5), (19.5, 49.5))
    assert columns(touching) == [10, 18, 50]
    assert [part.sum() for part in touching.objects()] == [64, 64, 64]


def test_a_part_without_a_centre_belongs_to_an_object_close_by_or_to_none() -> None:
    hidden_in_the_middle = pointed(answer(10, 20), (20, 10))
    [whole] = hidden_in_the_middle.objects()
    assert whole.sum() == 128
    [alone] = pointed(answer(10, 60), (20, 10)).objects()
    assert alone.sum() == 64


def test_an_object_without_a_mask_counts_in_an_order() -> None:
    row = pointed(answer(10, 70), (20, 10), (20, 40), (20, 70))
    result = InOrder('left', first=3, last=3).combine([row, NOTHING])
    assert columns(result) == [70]
    [dot] = InOrder('left', first=2, last=2).combine([row, NOTHING]).objects()
    assert np.argwhere(dot).mean(axis=0) == pytest.approx((20, 40))


def test_an_anchor_that_the_model_points_at_is_not_beside_itself() -> None:
    things = pointed(answer(10, 40, 64), (20, 10), (20, 40), (20, 64))
    anchor = pointed(answer(40), (20, 42))
    assert columns(Nearest().combine([things, anchor])) == [64]


def test_nothing_is_beside_an_anchor_if_the_model_points_at_the_anchor_alone() -> None:
    itself = pointed(answer(40, 60), (20, 40))
    assert Nearest().combine([itself, pointed(answer(40), (20, 41))]).score == 0


def test_what_is_absent_has_no_objects_whatever_the_model_points_at() -> None:
    assert pointed(NOTHING, (20, 10)).objects() == []


def test_of_several_anchors_the_nearest_counts() -> None:
    assert columns(Nearest().combine([answer(30, 50), answer(10, 70)])) in ([30], [50])
    assert columns(Nearest().combine([answer(22, 46), answer(10, 76)])) == [22]


def test_several_neighbors_are_all_found_if_they_are_asked_for() -> None:
    assert columns(Nearest(several=True).combine([answer(10, 34, 70), answer(22)])) == [10, 34]


def test_an_object_that_touches_its_anchor_is_found_without_it() -> None:
    both = answer(20, 28)
    assert columns(Nearest().combine([both, answer(28)])) == [20]


def test_a_target_between_the_thresholds_keeps_its_score() -> None:
    result = Nearest().combine([answer(30, score=0.9), answer(50, score=0.2)])
    assert (columns(result), result.score) == ([30], 0.2)


def test_components_that_touch_at_a_corner_are_connected() -> None:
    mask = np.zeros((4, 4), bool)
    mask[0, 0] = mask[1, 1] = mask[3, 3] = True
    labels, count = label_components(mask)
    assert count == 2 and labels[0, 0] == labels[1, 1] != labels[3, 3]
