from __future__ import annotations

import pytest
from instruction_scenes import VELOCITIES, moving, scene_object

from instructseg_ros.tabletop.instructions.movement import Movement
from instructseg_ros.tabletop.world.scene_graph import MOTIONS


@pytest.mark.parametrize('direction', MOTIONS)
def test_an_object_moves_in_its_direction_only(direction: str) -> None:
    mover = moving(1, 'mug', direction)
    truths = {name: Movement(direction=name).truth(mover) for name in MOTIONS}
    assert truths == {name: float(name == direction) for name in MOTIONS}
    assert Movement().truth(mover) == 1.0


def test_an_object_at_rest_moves_nowhere() -> None:
    assert [Movement(direction=name).truth(scene_object(1, 'mug')) for name in MOTIONS] == [0.0] * 5
    assert Movement().truth(scene_object(1, 'mug')) == 0.0


def test_what_only_starts_to_move_is_doubtful() -> None:
    starting = scene_object(1, 'mug', velocity=VELOCITIES['left'])
    assert Movement().truth(starting) == 0.5
    assert Movement(direction='left').truth(starting) == 0.5


def test_what_moves_askew_is_doubtful_both_ways() -> None:
    askew = moving(1, 'mug', 'left', velocity=(-0.1, -0.05, 0.07))
    assert Movement(direction='left').truth(askew) == 0.5
    assert Movement(direction='away').truth(askew) == 0.5
    assert Movement(direction='right').truth(askew) == 0.0


def test_only_round_objects_that_slide_may_be_taken_to_roll() -> None:
    assert Movement(rolling=True).truth(moving(1, 'ball', 'left', manner='rolling')) == 1.0
    assert Movement(rolling=True).truth(moving(1, 'ball', 'left')) == 0.5
    assert Movement(rolling=True).truth(moving(1, 'book', 'left')) == 0.0
