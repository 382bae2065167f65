from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from instructseg_ros.model.composition import Answer
from instructseg_ros.model.relations import RELATIONS, Related

SIZE = (120, 160)


def ellipse(row: float, column: float, height: float, width: float) -> np.ndarray:
    """Return the mask of an ellipse with these half axes."""
    rows, columns = np.indices(SIZE)
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1


def ball(row: float, column: float) -> np.ndarray:
    return ellipse(row, column, 6, 6)


def answer(*masks: np.ndarray, score: float = 0.9, pointed: bool = False) -> Answer:
    """Return an answer with these objects; `pointed`: the model points at their centres."""
    mask = np.any(masks, axis=0) if masks else np.zeros(SIZE, bool)
    score = score if masks else 0.0
    centres = np.array([np.argwhere(each).mean(axis=0) for each in masks]) if pointed else None
    return Answer(
        probability=np.where(mask, np.float32(0.8), np.float32(0.1)),
        score=score,
        found=score >= 0.3,
        present=score >= 0.15,
        centres=centres,
    )


def chosen(result: Answer, *masks: np.ndarray) -> list[int]:
    """Return the numbers of the masks that an answer contains."""
    return [number for number, mask in enumerate(masks) if result.mask[mask].mean() > 0.9]


# Seen at a slant, a bowl is an ellipse, of which a ball in it hides a part.
BOWL = ellipse(70, 80, 18, 30)
INSIDE = ball(68, 84)
ON_THE_BACK_RIM = ball(51, 80)
IN_FRONT = ball(90, 80)
FAR_BEHIND = ball(20, 80)
LEFT, RIGHT = ball(70, 20), ball(70, 140)
NOTHING = answer()


def bowl(*balls: np.ndarray) -> Answer:
    """Return the bowl without what the balls hide of it."""
    return answer(BOWL & ~np.any(balls, axis=0))


@pytest.mark.parametrize('relation', ['in', 'on'])
@pytest.mark.parametrize('pointed', [False, True])
def test_an_object_in_a_bowl_is_within_its_outline(relation: str, pointed: bool) -> None:
    balls = (LEFT, INSIDE, FAR_BEHIND)
    result = Related(relation).combine([answer(*balls, pointed=pointed), bowl(INSIDE)])
    assert (chosen(result, *balls), result.score) == ([1], 0.9)


def test_an_object_that_stands_on_the_back_of_a_plate_is_on_it() -> None:
    standing = ellipse(46, 80, 14, 6)
    balls = (LEFT, standing)
    assert chosen(Related('on').combine([answer(*balls), bowl(standing)]), *balls) == [1]


def test_an_object_in_front_of_a_bowl_or_behind_it_is_not_in_it() -> None:
    balls = (ON_THE_BACK_RIM & ~BOWL, IN_FRONT)
    assert Related('in').combine([answer(*balls), bowl(IN_FRONT)]).score == 0


def test_a_mask_of_a_bowl_may_cover_what_is_in_the_bowl() -> None:
    assert chosen(Related('in').combine([answer(LEFT, INSIDE), answer(BOWL)]), INSIDE) == [0]
    bowls = answer(BOWL, ellipse(25, 30, 12, 20))
    result = Related('holding').combine([bowls, answer(INSIDE)])
    assert chosen(result, BOWL & ~INSIDE, ellipse(25, 30, 12, 20)) == [0]


@pytest.mark.parametrize(
    ('relation', 'expected'), [('left', [0]), ('right', [1]), ('behind', [3]), ('front', [2])]
)
def test_sides_are_seen_from_the_camera(relation: str, expected: list[int]) -> None:
    balls = (ball(70, 60), ball(70, 100), ball(100, 80), ball(40, 80))
    result = Related(relation).combine([answer(*balls), answer(ball(70, 80))])
    assert chosen(result, *balls) == expected


@pytest.mark.parametrize('relation', ['left', 'right', 'behind', 'front', 'between'])
def test_an_object_in_a_bowl_is_on_no_side_of_it(relation: str) -> None:
    anchors = [bowl(INSIDE), answer(ball(70, 150))] if relation == 'between' else [bowl(INSIDE)]
    assert Related(relation).combine([answer(INSIDE), *anchors]).score == 0


def test_of_several_objects_that_fit_the_nearest_is_chosen() -> None:
    balls, anchor = (ball(70, 20), ball(70, 60), ball(70, 140)), answer(ball(70, 90))
    assert chosen(Related('left').combine([answer(*balls), anchor]), *balls) == [1]
    several = Related('left', several=True).combine([answer(*balls), anchor])
    assert chosen(several, *balls) == [0, 1]


def test_a_tall_object_is_behind_a_low_one_if_it_stands_behind() -> None:
    bottle, box = ellipse(50, 60, 40, 8), ellipse(65, 100, 8, 8)
    assert chosen(Related('front').combine([answer(bottle), answer(box)]), bottle) == [0]
    assert Related('behind').combine([answer(bottle), answer(box)]).score == 0


def test_an_object_between_two_others_is_close_to_the_line_that_connects_them() -> None:
    balls = (ball(60, 80), ball(100, 80), ball(60, 140))
    anchors = (ball(60, 30), ball(60, 120))
    separate = [answer(anchors[0]), answer(anchors[1])]
    assert chosen(Related('between').combine([answer(*balls), *separate]), *balls) == [0]
    assert chosen(Related('between').combine([answer(*balls), answer(*anchors)]), *balls) == [0]
    assert Related('between').combine([answer(*balls), answer(anchors[0])]).score == 0


def test_what_a_plate_carries_is_above_it_and_the_plate_is_below() -> None:
    balls = (ball(30, 80), INSIDE)
    assert chosen(Related('above').combine([answer(*balls), bowl(INSIDE)]), *balls) == [1]
    assert chosen(Related('above').combine([answer(balls[0]), answer(BOWL)]), *balls) == [0]
    result = Related('below').combine([bowl(INSIDE), answer(INSIDE)])
    assert chosen(result, BOWL & ~INSIDE) == [0]
    assert Related('below').combine([answer(LEFT), answer(INSIDE)]).score == 0


def test_the_farthest_object_is_far_and_not_next_to_the_anchor() -> None:
    balls, anchor = (ball(70, 40), ball(70, 90), ball(70, 140)), answer(ball(70, 20))
    assert chosen(Related('far').combine([answer(*balls), anchor]), *balls) == [2]
    assert Related('far').combine([answer(balls[0]), anchor]).score == 0


@pytest.mark.parametrize('pointed', [False, True])
def test_an_anchor_among_the_candidates_is_not_chosen(pointed: bool) -> None:
    objects = (BOWL & ~INSIDE, INSIDE, FAR_BEHIND)
    everything = answer(*objects, pointed=pointed)
    assert chosen(Related('in').combine([everything, bowl(INSIDE)]), *objects) == [1]
    assert chosen(Related('behind').combine([everything, bowl(INSIDE)]), *objects) == [2]


@pytest.mark.parametrize('relation', RELATIONS)
def test_without_candidates_or_anchors_nothing_is_found(relation: str) -> None:
    assert Related(relation).combine([answer(LEFT), NOTHING]).score == 0
    assert Related(relation).combine([NOTHING, answer(LEFT)]).score == 0


def test_the_score_is_the_lowest_of_the_parts() -> None:
    result = Related('left').combine([answer(LEFT), answer(RIGHT, score=0.4)])
    assert result.score == 0.4 and result.centres is None


def test_an_anchor_may_be_a_line_of_pixels() -> None:
    line = np.zeros(SIZE, bool)
    line[60, 70:90] = True
    assert chosen(Related('left').combine([answer(LEFT), answer(line)]), LEFT) == [0]


def test_an_unknown_relation_is_rejected() -> None:
    with pytest.raises(ValueError, match="'near' must be one of in, on"):
        Related('near')


def test_operations_with_equal_relations_are_equal() -> None:
    assert Related('in') == Related('in') != dataclasses.replace(Related('in'), several=True)
