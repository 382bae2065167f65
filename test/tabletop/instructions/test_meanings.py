"""Reads instructions back and judges anew what they mean, by rules of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import dist

import numpy as np
import pytest
from instruction_reader import described, matching, split_at
from instruction_scenes import random_scenes

from instructseg_ros.tabletop.instructions import TabletopInstruction, generate
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, SceneObject

SCENES = random_scenes(60)
Made = tuple[SceneGraph, TabletopInstruction]


def made(category: str, *, absent: bool = False) -> Iterator[Made]:
    rng = np.random.default_rng(3)
    for graph in SCENES * 5:
        one = generate(graph, rng, category=category, absent=absent)
        if one is not None:
            yield graph, one


def labels(objects: list[SceneObject]) -> set[int]:
    return {obj.label for obj in objects}


@pytest.mark.parametrize('absent', [False, True])
@pytest.mark.parametrize('category', ['attribute', 'plural'])
def test_what_is_named_is_what_is_meant(category: str, absent: bool) -> None:
    for graph, one in made(category, absent=absent):
        assert labels(matching(one.text, graph)) == one.targets, one.text


def _across(obj: SceneObject) -> float:
    return obj.position[0] / obj.position[2]


def _distance(obj: SceneObject) -> float:
    return dist(obj.position, (0.0, 0.0, 0.0))


Rule = tuple[Callable[[SceneObject], float], Callable[[float, float], bool]]
LARGEST: Rule = (lambda obj: obj.extent, lambda a, b: a >= 1.2 * b)
SMALLEST: Rule = (lambda obj: obj.extent, lambda a, b: a * 1.2 <= b)
LEFTMOST: Rule = (_across, lambda a, b: a <= b - 0.04)
RIGHTMOST: Rule = (_across, lambda a, b: a >= b + 0.04)
NEAREST: Rule = (_distance, lambda a, b: a <= b - 0.05)
FARTHEST: Rule = (_distance, lambda a, b: a >= b + 0.05)
RULES = {
    'least small': LARGEST,
    'least little': LARGEST,
    'least big': SMALLEST,
    'least large': SMALLEST,
    'least size': SMALLEST,
    'least great': SMALLEST,
    'least distant': NEAREST,
    'least far': NEAREST,
    'least remote': NEAREST,
    'least near': FARTHEST,
    'least close': FARTHEST,
    'greatest distance': FARTHEST,
    'remote': FARTHEST,
    'large': LARGEST,
    'big': LARGEST,
    'small': SMALLEST,
    'little': SMALLEST,
    'great': LARGEST,
    'hug': LARGEST,
    'sizable': LARGEST,
    'bulk': LARGEST,
    'tin': SMALLEST,
    'teen': SMALLEST,
    'wee': SMALLEST,
    'left': LEFTMOST,
    'right': RIGHTMOST,
    'near': NEAREST,
    'close': NEAREST,
    'distant': FARTHEST,
    'farthest': FARTHEST,
    'furthest': FARTHEST,
    'far': FARTHEST,
    'further': FARTHEST,
}


def test_a_superlative_means_the_first_by_a_margin_that_shows() -> None:
    for graph, one in made('superlative'):
        before, words, behind = split_at(one, 'superlative')
        measure, is_first = next(rule for mark, rule in RULES.items() if mark in words)
        fitting = matching(before + behind, graph)
        assert labels(fitting) == one.candidates
        (target,) = [obj for obj in fitting if obj.label in one.targets]
        others = [obj for obj in fitting if obj is not target]
        assert others
        assert all(is_first(measure(target), measure(other)) for other in others), one.text


def test_an_absent_superlative_has_nothing_to_choose_from() -> None:
    for graph, one in made('superlative', absent=True):
        before, _, behind = split_at(one, 'superlative')
        assert not matching(before + behind, graph), one.text


FAR = (
    *('behind', 'back', 'farther', 'further', 'distant', 'far side'),
    *('remote', 'rear', 'beyond', 'deeper'),
)


def _is_there(words: str, obj: SceneObject, anchors: list[SceneObject]) -> float:
    """Above 0 in the place that the words name, below 0 elsewhere, 0 where one could argue."""
    if 'between' in words or words in ('in the middle of', 'flanked by'):
        to_first, to_second = (np.subtract(one.position, obj.position) for one in anchors)
        turn = to_first @ to_second / np.linalg.norm(to_first) / np.linalg.norm(to_second)
        return -0.2 - float(turn)
    (anchor,) = anchors
    inside = ('inside', 'at the bottom of', 'enclosed by')
    if words.split()[-1] in ('in', 'into') or any(part in words for part in inside):
        return 1.0 if obj.inside == anchor.label else -1.0
    on_top = ('on top of', 'on the top of', 'atop', 'upon', 'carried by', 'supported by')
    if words.split()[-1] == 'on' or words.endswith(on_top):
        return 1.0 if obj.on == anchor.label else -1.0
    if 'left' in words or 'right' in words:
        aside = _across(obj) - _across(anchor)
        return _beyond(aside if 'right' in words else -aside, 0.05)
    aside = obj.position[2] - anchor.position[2]
    is_behind = any(word in words for word in FAR) and 'forward' not in words
    if 'less' in words:
        is_behind = 'near' in words or 'close' in words
    return _beyond(aside if is_behind else -aside, 0.04)


def _beyond(aside: float, margin: float) -> float:
    return 0.0 if abs(aside) < margin else aside


@pytest.mark.parametrize('absent', [False, True])
def test_a_relation_means_what_is_in_that_place_and_nothing_doubtful(absent: bool) -> None:
    for graph, one in made('relation', absent=absent):
        before, words, behind = split_at(one, 'relation')
        named = [matching(part, graph) for part in behind.split(' and ') if described(part)]
        if not one.anchors:
            assert named == [[]]
            continue
        anchors = [anchor for (anchor,) in named]
        assert labels(anchors) == one.anchors
        fitting = [obj for obj in matching(before, graph) if obj.label not in one.anchors]
        assert labels(fitting) == one.candidates, one.text
        for obj in fitting:
            place = _is_there(words, obj, anchors)
            assert place > 0 if obj.label in one.targets else place < 0, one.text


@pytest.mark.parametrize('absent', [False, True])
def test_motion_means_what_moves_so_and_nothing_that_nearly_does(absent: bool) -> None:
    for graph, one in made('motion', absent=absent):
        before, words, behind = split_at(one, 'motion')
        fitting = matching(before + behind, graph)
        assert labels(fitting) == one.candidates, one.text
        moving = [obj for obj in fitting if _moves(words, obj)]
        assert labels(moving) == one.targets, one.text


DIRECTIONS = {
    'left': ('left',),
    'right': ('right',),
    'up': (
        *(' up', 'upward', 'air', 'lifted', 'rises', 'rising'),
        *('raised', 'higher', 'skywards', 'the table'),
    ),
    'away': ('away', 'farther', 'further', 'back', 'distance', 'out of my reach'),
    'towards': (
        *('toward', 'closer', 'nearer', 'to me', 'to us'),
        *('my direction', 'this way', 'our way', 'front'),
    ),
}


def _moves(words: str, obj: SceneObject) -> bool:
    words = words.replace('from left', '').replace('from right', '')
    named = [d for d, marks in DIRECTIONS.items() if any(mark in words for mark in marks)]
    if 'roll' in words and obj.manner != 'rolling':
        return False
    return obj.motion in named[:1] if named else obj.motion is not None
