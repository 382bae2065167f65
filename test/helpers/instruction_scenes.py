"""Scene graphs made by hand, for the tests of the instructions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from instructseg_ros.tabletop.world.catalogue import COLORS, OBJECT_CATEGORIES, SIZES
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, SceneObject

VELOCITIES = {
    'left': (-0.1, 0.0, 0.0),
    'right': (0.1, 0.0, 0.0),
    'towards': (0.0, 0.05, -0.1),
    'away': (0.0, -0.05, 0.1),
    'up': (0.0, -0.1, 0.0),
}


def scene_object(label: int, category: str, color: str = 'red', **others: object) -> SceneObject:
    """An object at rest in the middle of the table, but for what `others` say."""
    values: dict[str, object] = {
        'size': 'medium',
        'extent': 0.1,
        'position': (0.0, 0.2, 0.8),
        'velocity': (0.0, 0.0, 0.0),
        'motion': None,
        'manner': None,
        'pixel': (320.0, 240.0),
        'area': 900,
        'on': None,
        'inside': None,
    }
    return SceneObject(label=label, category=category, color=color, **{**values, **others})  # type: ignore[arg-type]


def moving(
    label: int, category: str, direction: str, color: str = 'red', **others: object
) -> SceneObject:
    """An object that moves in a direction."""
    velocity = VELOCITIES[direction]
    values = {'velocity': velocity, 'motion': direction, 'manner': 'pushed', **others}
    return scene_object(label, category, color, **values)


def random_scene(seed: int) -> SceneGraph:
    """4 to 10 objects strewn over the table, some of them moving."""
    rng = np.random.default_rng(seed)
    objects = [_random_thing(rng, label) for label in range(1, int(rng.integers(4, 11)) + 1)]
    return tuple(_put_away(one, objects) for one in objects)


def random_scenes(number: int) -> list[SceneGraph]:
    """Different scenes, the same in every test."""
    return [random_scene(seed) for seed in range(number)]


def _put_away(one: SceneObject, objects: list[SceneObject]) -> SceneObject:
    """A resting apple or pen goes into a bowl or onto a plate, where there is one."""
    holders = [other for other in objects if other.category in ('bowl', 'plate')]
    if one.category not in ('apple', 'pen') or one.motion is not None or not holders:
        return one
    place = 'inside' if holders[0].category == 'bowl' else 'on'
    return replace(one, position=holders[0].position, **{place: holders[0].label})


def _random_thing(rng: np.random.Generator, label: int) -> SceneObject:
    size = str(rng.choice(list(SIZES)))
    depth = float(rng.uniform(0.6, 1.2))
    others: dict[str, object] = {
        'size': size,
        'extent': float(rng.uniform(0.05, 0.25)) * SIZES[size],
        'position': (float(rng.uniform(-0.3, 0.3)), 0.65 - 0.5 * depth, depth),
    }
    category, color = str(rng.choice(OBJECT_CATEGORIES)), str(rng.choice(list(COLORS)))
    if rng.random() < 0.3:
        return moving(label, category, str(rng.choice(list(VELOCITIES))), color, **others)
    return scene_object(label, category, color, **others)
