"""Reads the two parts of a compound from its words alone."""

from __future__ import annotations

import re

import numpy as np
import pytest
from instruction_reader import described, matching
from instruction_scenes import random_scenes

from instructseg_ros.tabletop.instructions import generate

SCENES = random_scenes(60)
JOINTS = re.compile(
    r'\b(?:and also|as well as|together with|and|plus|with|or else|or|if|but|then|alongside|'
    r'in addition to|accompanied by)\b|[,.]'
)


@pytest.mark.parametrize('absent', [False, True])
def test_the_targets_are_those_of_both_parts(absent: bool) -> None:
    rng = np.random.default_rng(3)
    for graph in SCENES * 5:
        one = generate(graph, rng, category='compound', absent=absent)
        if one is None or 'with the colo' in one.text:
            continue
        parts = [part for part in JOINTS.split(one.text) if described(part)]
        named = {obj.label for part in parts for obj in matching(part, graph)}
        assert named == one.targets, one.text


def test_one_of_two_alternatives_is_there() -> None:
    rng = np.random.default_rng(5)
    made = [generate(graph, rng, category='compound') for graph in SCENES * 5]
    either = [one for one in made if one and re.search(r'\bor\b', one.text)]
    assert either
    assert all(len(one.targets) == 1 for one in either)
