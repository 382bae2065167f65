from __future__ import annotations

import pytest
from instruction_scenes import scene_object

from instructseg_ros.tabletop.instructions.relation import RELATIONS

ANCHOR = scene_object(1, 'box', position=(0.0, 0.2, 0.8))
FAR_ANCHOR = scene_object(2, 'mug', position=(0.2, 0.1, 1.0))


@pytest.mark.parametrize(
    ('relation', 'x', 'z', 'truth'),
    [
        ('left', -0.10, 0.8, 1.0),
        ('left', -0.03, 0.8, 0.5),
        ('left', 0.10, 0.8, 0.0),
        ('right', 0.10, 0.8, 1.0),
        ('right', 0.03, 0.8, 0.5),
        ('right', -0.10, 0.8, 0.0),
        ('behind', 0.0, 0.9, 1.0),
        ('behind', 0.0, 0.82, 0.5),
        ('behind', 0.0, 0.7, 0.0),
        ('front', 0.0, 0.7, 1.0),
        ('front', 0.0, 0.82, 0.5),
        ('front', 0.0, 0.9, 0.0),
    ],
)
def test_sides_are_true_false_or_too_close_to_say(
    relation: str, x: float, z: float, truth: float
) -> None:
    assert RELATIONS[relation].truth(scene_object(3, 'pen', position=(x, 0.2, z)), ANCHOR) == truth


@pytest.mark.parametrize(
    ('position', 'truth'),
    [
        ((0.1, 0.15, 0.9), 1.0),
        ((0.02, 0.19, 0.82), 0.5),
        ((0.3, 0.05, 1.1), 0.0),
        ((-0.2, 0.15, 0.9), 0.0),
    ],
)
def test_between_is_on_the_way_from_one_to_the_other(
    position: tuple[float, float, float], truth: float
) -> None:
    between = RELATIONS['between'].truth
    middle = scene_object(3, 'pen', position=position)
    assert between(middle, ANCHOR, FAR_ANCHOR) == truth
    assert between(middle, FAR_ANCHOR, ANCHOR) == truth


def test_nothing_is_clearly_between_neighbours() -> None:
    neighbour = scene_object(2, 'mug', position=(0.1, 0.2, 0.8))
    middle = scene_object(3, 'pen', position=(0.05, 0.2, 0.8))
    assert RELATIONS['between'].truth(middle, ANCHOR, neighbour) == 0.5


def test_in_and_on_come_from_the_graph_and_are_not_clearly_told_apart() -> None:
    inside, on = scene_object(3, 'apple', inside=1), scene_object(4, 'apple', on=1)
    assert RELATIONS['inside'].truth(inside, ANCHOR) == RELATIONS['on'].truth(on, ANCHOR) == 1.0
    assert RELATIONS['inside'].truth(on, ANCHOR) == RELATIONS['on'].truth(inside, ANCHOR) == 0.5
    assert RELATIONS['on'].truth(scene_object(5, 'apple'), ANCHOR) == 0.0


def test_what_stands_on_an_object_is_on_no_side_of_it() -> None:
    on = scene_object(3, 'apple', on=1, position=(-0.1, 0.2, 0.9))
    for side in ('left', 'right', 'behind', 'front'):
        assert RELATIONS[side].truth(on, ANCHOR) == 0.5
