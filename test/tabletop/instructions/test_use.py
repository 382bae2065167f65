from __future__ import annotations

import numpy as np
import pytest
from instruction_scenes import scene_object

from instructseg_ros.tabletop.instructions import generate
from instructseg_ros.tabletop.instructions.use import USES
from instructseg_ros.tabletop.world.catalogue import OBJECT_CATEGORIES


def texts(*categories: str, absent: bool = False) -> dict[str, frozenset[int]]:
    """Instructions on objects of these categories, labelled 1, 2 ..., and the labels meant."""
    graph = tuple(scene_object(label, category) for label, category in enumerate(categories, 1))
    rng = np.random.default_rng(0)
    made = [generate(graph, rng, category='use', absent=absent) for _ in range(40_000)]
    return {one.text.lower().rstrip('.?'): one.targets for one in made if one is not None}


@pytest.mark.parametrize('name', list(USES))
def test_every_use_has_several_phrasings(name: str) -> None:
    use = USES[name]
    assert len({*use.actions.trained, *use.properties.trained}) >= 4
    assert use.actions.held_out
    assert use.properties.held_out


def test_every_category_has_a_use_of_its_own_words() -> None:
    assert {category for use in USES.values() for category in use.categories} == set(
        OBJECT_CATEGORIES
    )


def test_a_use_means_everything_that_serves_it() -> None:
    said = texts('mug', 'bottle', 'can', 'hammer', 'mug')
    assert said['something i can drink from'] == {1, 2, 3, 5}


@pytest.mark.parametrize('absent', [False, True])
def test_nothing_is_asked_for_that_something_else_might_serve(absent: bool) -> None:
    said = texts('mug', 'spoon', 'book', absent=absent) if absent else texts('bowl', 'mug')
    assert said
    assert not any('soup' in text for text in said)


def test_an_absent_use_is_one_that_nothing_serves() -> None:
    said = texts('mug', 'hammer', absent=True)
    assert 'what i would cut with' in said
    assert not any('drink' in text or 'nail' in text for text in said)
    assert not any(said.values())
