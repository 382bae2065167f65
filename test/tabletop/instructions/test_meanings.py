"""Reads instructions back and judges anew what they mean, by rules of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import dist

import numpy as np
import pytest
from instruction_reader import matching, split_at
from instruction_scenes import random_scenes

from instructseg_ros.tabletop.instructions import TabletopInstruction, generate
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, Thing

SCENES = random_scenes(60)
Made = tuple[SceneGraph, TabletopInstruction]


def made(kind: str, *, absent: bool = False) -> Iterator[Made]:
    rng = np.random.default_rng(3)
    for graph in SCENES * 5:
        one = generate(graph, rng, kind=kind, absent=absent)
        if one is not None:
            yield graph, one


def labels(things: list[Thing]) -> set[int]:
    return {thing.label for thing in things}


@pytest.mark.parametrize('absent', [False, True])
@pytest.mark.parametrize('kind', ['attribute', 'plural'])
def test_what_is_named_is_what_is_meant(kind: str, absent: bool) -> None:
    for graph, one in made(kind, absent=absent):
        assert labels(matching(one.text, graph)) == one.targets, one.text


def _across(thing: Thing) -> float:
    return thing.position[0] / thing.position[2]


def _distance(thing: Thing) -> float:
    return dist(thing.position, (0.0, 0.0, 0.0))


Rule = tuple[Callable[[Thing], float], Callable[[float, float], bool]]
LARGEST: Rule = (lambda thing: thing.extent, lambda a, b: a >= 1.2 * b)
SMALLEST: Rule = (lambda thing: thing.extent, lambda a, b: a * 1.2 <= b)
LEFTMOST: Rule = (_across, lambda a, b: a <= b - 0.04)
RIGHTMOST: Rule = (_across, lambda a, b: a >= b + 0.04)
NEAREST: Rule = (_distance, lambda a, b: a <= b - 0.05)
FARTHEST: Rule = (_distance, lambda a, b: a >= b + 0.05)
RULES = {
    'least small': LARGEST,
    'least little': LARGEST,
    'least big': SMALLEST,
    'least large': SMALLEST,
    'least far': NEAREST,
    'least remote': NEAREST,
    'least near': FARTHEST,
    'least close': FARTHEST,
    'remote': FARTHEST,
    'large': LARGEST,
    'big': LARGEST,
    'small': SMALLEST,
    'little': SMALLEST,
    'left': LEFTMOST,
    'right': RIGHTMOST,
    'near': NEAREST,
    'close': NEAREST,
    'distant': FARTHEST,
    'farthest': FARTHEST,
    'furthest': FARTHEST,
}


def test_a_superlative_means_the_first_by_a_margin_that_shows() -> None:
    for graph, one in made('superlative'):
        before, words, behind = split_at(one, 'superlative')
        measure, is_first = next(rule for mark, rule in RULES.items() if mark in words)
        fitting = matching(before + behind, graph)
        assert labels(fitting) == one.candidates
        (target,) = [thing for thing in fitting if thing.label in one.targets]
        others = [thing for thing in fitting if thing is not target]
        assert others
        assert all(is_first(measure(target), measure(other)) for other in others), one.text


def test_an_absent_superlative_has_nothing_to_choose_from() -> None:
    for graph, one in made('superlative', absent=True):
        before, _, behind = split_at(one, 'superlative')
        assert not matching(before + behind, graph), one.text


def _is_there(words: str, thing: Thing, anchors: list[Thing]) -> float:
    """Above 0 in the place that the words name, below 0 elsewhere, 0 where one could argue."""
    if 'between' in words or words == 'in the middle of':
        to_first, to_second = (np.subtract(one.position, thing.position) for one in anchors)
        turn = to_first @ to_second / np.linalg.norm(to_first) / np.linalg.norm(to_second)
        return -0.2 - float(turn)
    (anchor,) = anchors
    if words.split()[-1] in ('in', 'into') or 'inside' in words:
        return 1.0 if thing.inside == anchor.label else -1.0
    if words.split()[-1] == 'on' or words.endswith('on top of'):
        return 1.0 if thing.on == anchor.label else -1.0
    if 'left' in words or 'right' in words:
        aside = _across(thing) - _across(anchor)
        return _beyond(aside if 'right' in words else -aside, 0.05)
    aside = thing.position[2] - anchor.position[2]
    is_behind = any(
        word in words for word in ('behind', 'back', 'farther', 'further', 'distant', 'far side')
    )
    return _beyond(aside if is_behind else -aside, 0.04)


def _beyond(aside: float, margin: float) -> float:
    return 0.0 if abs(aside) < margin else aside


@pytest.mark.parametrize('absent', [False, True])
def test_a_relation_means_what_is_in_that_place_and_nothing_doubtful(absent: bool) -> None:
    for graph, one in made('relation', absent=absent):
        before, words, behind = split_at(one, 'relation')
        named = [matching(part, graph) for part in behind.split(' and ')]
        if not one.anchors:
            assert named == [[]]
            continue
        anchors = [anchor for (anchor,) in named]
        assert labels(anchors) == one.anchors
        fitting = [thing for thing in matching(before, graph) if thing.label not in one.anchors]
        assert labels(fitting) == one.candidates, one.text
        for thing in fitting:
            place = _is_there(words, thing, anchors)
            assert place > 0 if thing.label in one.targets else place < 0, one.text


@pytest.mark.parametrize('absent', [False, True])
def test_motion_means_what_moves_so_and_nothing_that_nearly_does(absent: bool) -> None:
    for graph, one in made('motion', absent=absent):
        before, words, behind = split_at(one, 'motion')
        fitting = matching(before + behind, graph)
        assert labels(fitting) == one.candidates, one.text
        moving = [thing for thing in fitting if _moves(words, thing)]
        assert labels(moving) == one.targets, one.text


DIRECTIONS = {
    'left': ('left',),
    'right': ('right',),
    'up': (' up', 'upwards', 'air', 'lifted', 'rises', 'rising'),
    'away': ('away', 'farther', 'further'),
    'towards': ('towards', 'closer', 'nearer'),
}


def _moves(words: str, thing: Thing) -> bool:
    named = [d for d, marks in DIRECTIONS.items() if any(mark in words for mark in marks)]
    if 'roll' in words and thing.manner != 'rolling':
        return False
    return thing.motion in named[:1] if named else thing.motion is not None
