from __future__ import annotations

import pytest
from instruction_scenes import scene_object

from instructseg_ros.tabletop.instructions.superlative import SUPERLATIVES, clear_first, ranks

NEAR_LEFT = scene_object(1, 'mug', position=(-0.2, 0.2, 0.7), extent=0.10)
MIDDLE = scene_object(2, 'box', position=(0.0, 0.2, 0.9), extent=0.15)
FAR_RIGHT = scene_object(3, 'can', position=(0.2, 0.2, 1.1), extent=0.05)
SCENE = (NEAR_LEFT, MIDDLE, FAR_RIGHT)


@pytest.mark.parametrize(
    ('name', 'label'),
    [
        ('largest', 2),
        ('smallest', 3),
        ('leftmost', 1),
        ('rightmost', 3),
        ('nearest', 1),
        ('farthest', 3),
    ],
)
def test_the_first_is_found_by_size_place_and_distance(name: str, label: int) -> None:
    first = clear_first(SCENE, SUPERLATIVES[name])
    assert first is not None
    assert first.label == label
    assert ranks(SCENE, SUPERLATIVES[name])[label] == 1.0


@pytest.mark.parametrize('name', list(SUPERLATIVES))
def test_there_is_no_first_of_twins_of_one_or_of_none(name: str) -> None:
    twins = (scene_object(1, 'mug'), scene_object(2, 'mug'))
    assert clear_first(twins, SUPERLATIVES[name]) is None
    assert clear_first(twins[:1], SUPERLATIVES[name]) is None
    assert clear_first((), SUPERLATIVES[name]) is None


def test_ranks_fall_from_the_first_to_the_last() -> None:
    assert ranks(SCENE, SUPERLATIVES['leftmost']) == {1: 1.0, 2: 0.25, 3: 0.0}
    assert ranks(SCENE[:1], SUPERLATIVES['leftmost']) == {1: 1.0}
