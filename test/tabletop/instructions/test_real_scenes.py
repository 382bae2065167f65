"""Instructions over scenes of the simulated tabletop."""

from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES, generate
from instructseg_ros.tabletop.world.scene_graph import SceneGraph
from instructseg_ros.tabletop.world.simulator import Tabletop


@pytest.fixture(scope='module')
def scenes(shared_tabletop: Tabletop) -> list[SceneGraph]:
    graphs = []
    for seed in range(24):
        shared_tabletop.reset(5000 + seed)
        graphs.append(shared_tabletop.observe(0.4 * seed).graph)
    return graphs


@pytest.mark.parametrize('absent', [False, True])
@pytest.mark.parametrize('category', sorted({*INSTRUCTION_CATEGORIES} - {'motion'}))
def test_most_scenes_give_every_category(
    category: str, absent: bool, scenes: list[SceneGraph]
) -> None:
    rng = np.random.default_rng(0)
    made = [generate(graph, rng, category=category, absent=absent) for graph in scenes]
    share = {'comparison': 0.6, 'proximity': 0.3}.get(category, 0.8)
    assert sum(one is not None for one in made) >= share * len(scenes)


def test_where_something_moves_motion_is_spoken_of(scenes: list[SceneGraph]) -> None:
    rng = np.random.default_rng(0)
    moving = [graph for graph in scenes if any(obj.motion for obj in graph)]
    made = [generate(graph, rng, category='motion') for graph in moving]
    assert moving
    assert sum(one is not None for one in made) >= 0.8 * len(moving)


def test_nothing_that_moves_is_missing_where_nothing_moves(scenes: list[SceneGraph]) -> None:
    rng = np.random.default_rng(0)
    still = [g for g in scenes if not any(any(obj.velocity) for obj in g)]
    assert still
    assert all(generate(graph, rng, category='motion') is None for graph in still)
    assert all(generate(graph, rng, category='motion', absent=True) for graph in still)
