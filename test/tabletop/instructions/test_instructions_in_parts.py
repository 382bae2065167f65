"""Which of the generated instructions are split into simpler ones."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest
from instruction_scenes import random_scenes

from instructseg_ros.model.composition_reader import CompositionReader
from instructseg_ros.model.model_files import NOUNS, find_model
from instructseg_ros.model.noun_query import NounReader
from instructseg_ros.tabletop.instructions import (
    INSTRUCTION_CATEGORIES,
    generate,
    object_nouns,
    wording,
)


@pytest.fixture(scope='module')
def split() -> dict[str, list[bool]]:
    """For every category, whether each of some composed instructions is split."""
    nouns = NounReader(json.loads((find_model('embedded') / NOUNS).read_text()))
    own = object_nouns()
    reader = CompositionReader(lambda word: word in own or nouns.is_noun(word))
    rng = np.random.default_rng(0)
    found: dict[str, list[bool]] = defaultdict(list)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wording, 'PARAPHRASE_SHARE', 0.0)
        for name in INSTRUCTION_CATEGORIES:
            for graph in random_scenes(120):
                instruction = generate(graph, rng, category=name)
                if instruction is not None:
                    found[name].append(reader.read(instruction.text) is not None)
    return found


@pytest.mark.parametrize(
    'name', ['attribute', 'superlative', 'relation', 'plural', 'use', 'motion', 'comparison']
)
def test_instructions_that_the_model_answers_well_are_left_to_it(
    split: dict[str, list[bool]], name: str
) -> None:
    assert len(split[name]) >= 30
    assert np.mean(split[name]) <= 0.02


@pytest.mark.parametrize(
    ('name', 'share'),
    [('negation', 0.8), ('compound', 0.75), ('ordinal', 0.97), ('proximity', 0.85)],
)
def test_most_instructions_that_the_model_answers_badly_are_split(
    split: dict[str, list[bool]], name: str, share: float
) -> None:
    assert len(split[name]) >= 30
    assert np.mean(split[name]) >= share
