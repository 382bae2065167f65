"""Reads what an instruction rules out from its words alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from instruction_reader import all_named
from instruction_scenes import random_scenes, scene_object

from instructseg_ros.tabletop.instructions import TabletopInstruction, generate
from instructseg_ros.tabletop.world.scene_graph import SceneGraph

SCENES = random_scenes(60)


def made(*, absent: bool) -> Iterator[tuple[SceneGraph, TabletopInstruction]]:
    rng = np.random.default_rng(3)
    for graph in SCENES * 5:
        one = generate(graph, rng, category='negation', absent=absent)
        if one is not None:
            yield graph, one


@pytest.mark.parametrize('absent', [False, True])
def test_what_the_words_rule_out_is_no_target(absent: bool) -> None:
    for graph, one in made(absent=absent):
        colors = all_named(one.text, 'color')
        categories = all_named(one.text, 'category')
        if re.search(r'\b(thing|object|item)s?\b', one.text):  # "the red thing that is not a mug"
            fitting = [obj for obj in graph if obj.color in colors]
            excluded = {obj.label for obj in fitting if obj.category in categories}
        else:
            fitting = [obj for obj in graph if obj.category in categories]
            excluded = {obj.label for obj in fitting if obj.color in colors}
        assert one.targets == {obj.label for obj in fitting} - excluded, one.text
        assert one.anchors == excluded, one.text


def test_every_exclusion_has_an_object_to_leave() -> None:
    assert all(one.anchors for absent in (False, True) for _, one in made(absent=absent))


def test_the_other_of_two_is_meant_only_if_there_are_two() -> None:
    three = tuple(scene_object(i, 'mug', color) for i, color in enumerate(('red', 'blue', 'pink')))
    rng = np.random.default_rng(0)
    drawn = [generate(three, rng, category='negation') for _ in range(200)]
    others = [one.text for one in drawn if one and re.search('other( one)?$', one.text)]
    assert others
    assert all(len(all_named(text, 'color')) == 2 for text in others)
