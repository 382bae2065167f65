"""Counts anew which object an ordinal or a comparison means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from math import dist

import numpy as np
from instruction_scenes import random_scenes, scene_object

from instructseg_ros.tabletop.instructions import TabletopInstruction, generate
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, SceneObject

SCENES = random_scenes(60)
PLACES = {'second': 2, 'third': 3, 'fourth': 4, 'two': 2, 'three': 3, 'four': 4}
Measure = Callable[[SceneObject], float]


def made(category: str) -> Iterator[tuple[SceneGraph, TabletopInstruction]]:
    rng = np.random.default_rng(3)
    for graph in SCENES * 6:
        one = generate(graph, rng, category=category)
        if one is not None:
            yield graph, one


def _measure(words: str) -> Measure:
    """The measure whose lowest value comes first."""
    less = -1.0 if 'less' in words or 'least' in words else 1.0
    signs: dict[str, tuple[float, Measure]] = {
        'left': (1.0, lambda obj: obj.position[0] / obj.position[2]),
        'right': (-1.0, lambda obj: obj.position[0] / obj.position[2]),
        'near|clos': (1.0, lambda obj: dist(obj.position, (0, 0, 0))),
        'far|fur|dist|remot': (-1.0, lambda obj: dist(obj.position, (0, 0, 0))),
        'larg|big|great|hug': (-1.0, lambda obj: obj.extent),
        'small|littl|tin|teen': (1.0, lambda obj: obj.extent),
    }
    for pattern, (sign, measure) in signs.items():
        if re.search(pattern, words):
            return lambda obj: less * sign * measure(obj)
    raise AssertionError(words)


def _ordered(graph: SceneGraph, one: TabletopInstruction) -> list[int]:
    (span,) = {(g.start, g.end) for g in one.groundings if g.group == 'superlative'}
    measure = _measure(one.text[slice(*span)].lower())
    fitting = [obj for obj in graph if obj.label in one.candidates]
    return [obj.label for obj in sorted(fitting, key=measure)]


def test_an_ordinal_means_the_nth_or_the_first_n() -> None:
    for graph, one in made('ordinal'):
        if not any(g.group == 'superlative' for g in one.groundings):
            continue  # the middle one
        (number,) = [n for word, n in PLACES.items() if re.search(rf'\b{word}\b', one.text.lower())]
        row = _ordered(graph, one)
        first_n = re.search(r'\b(two|three|four)\b', one.text) and 'number' not in one.text
        expected = row[:number] if first_n else row[number - 1 : number]
        assert one.targets == set(expected), one.text


def test_the_middle_one_of_three_is_between_the_others() -> None:
    row = tuple(
        scene_object(i, 'mug', position=(x, 0.2, 0.8)) for i, x in enumerate((0.3, -0.3, 0.0))
    )
    rng = np.random.default_rng(0)
    drawn = [generate(row, rng, category='ordinal') for _ in range(100)]
    middle = [one for one in drawn if one and ('middle' in one.text or 'between' in one.text)]
    assert middle
    assert all(one.targets == {2} for one in middle)


def test_a_comparison_means_the_first_of_exactly_two() -> None:
    for graph, one in made('comparison'):
        row = _ordered(graph, one)
        assert len(row) == 2
        assert one.targets == {row[0]}, one.text
