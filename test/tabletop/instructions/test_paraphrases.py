from __future__ import annotations

import re

import numpy as np
import pytest
from instruction_scenes import random_scenes

from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.tabletop.free_wording import sentences
from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES, generate, wording
from instructseg_ros.tabletop.instructions.relation import RELATIONS
from instructseg_ros.tabletop.instructions.superlative import SUPERLATIVES
from instructseg_ros.tabletop.instructions.use import USES
from instructseg_ros.tabletop.instructions.wording import PARAPHRASES, SLOT
from instructseg_ros.tabletop.world.scene_graph import MOTIONS

# The slots of each meaning: those that every sentence has, and one of those after the bar, if any.
SLOTS = {
    'attribute': 'object color',
    'plural': '| object objects',
    'request': 'it',
    **dict.fromkeys(RELATIONS, 'object anchor'),
    'between': 'object anchor anchor2',
    'beside anything': 'anchor',
    **dict.fromkeys(SUPERLATIVES, '| object objects'),
    **{f'{name} of two': '| object objects' for name in SUPERLATIVES},
    **dict.fromkeys(['middle', 'second largest', 'second smallest'], '| object objects'),
    'nth': 'nth side | object objects',
    **dict.fromkeys(['not color', 'other', 'rest'], 'color | object objects'),
    'neither': 'color color2 | object objects',
    **dict.fromkeys(['both', 'either'], 'first second'),
    **{f'use {name}': '' for name in USES},
    **{f'motion {name}': '' for name in (*MOTIONS, 'moving')},
    **{f'object {name}': '| object objects' for name in (*MOTIONS, 'moving')},
}


@pytest.fixture(autouse=True)
def paraphrased(composed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a whole sentence wherever there are some."""
    monkeypatch.setattr(wording, 'PARAPHRASE_SHARE', 1.0)


def test_there_are_sentences_for_every_meaning_and_for_no_other() -> None:
    assert PARAPHRASES.keys() == SLOTS.keys()


@pytest.mark.parametrize('meaning', PARAPHRASES)
def test_a_sentence_has_the_slots_of_its_meaning(meaning: str) -> None:
    needed, _, either = (set(part.split()) for part in SLOTS[meaning].partition('|'))
    words = PARAPHRASES[meaning]
    assert not set(words.trained) & set(words.held_out)
    assert len(words.held_out) <= 0.25 * len(words.trained)
    for text in words.trained + words.held_out:
        slots = set(SLOT.findall(text))
        assert needed <= slots <= needed | either, text
        assert not either or slots & either, text


def test_the_benchmark_has_none_of_the_sentences() -> None:
    known = {_bare(text) for one in PARAPHRASES.values() for text in one.trained + one.held_out}
    assert not known & {_bare(sentence.text) for sentence in sentences()}


def _bare(text: str) -> str:
    """Remove case and punctuation, and all but the kinds of slots."""
    kinds = {'objects': 'nouns', 'object': 'noun', 'anchor': 'noun2', 'it': 'color} {noun'}
    named = SLOT.sub(lambda slot: f'{{{kinds.get(slot[1], slot[1])}}}', text.lower())
    return ' '.join(re.findall(r'[a-z0-9{}]+', named))


@pytest.mark.parametrize('held_out', [False, True])
@pytest.mark.parametrize('name', INSTRUCTION_CATEGORIES)
def test_all_words_of_a_sentence_describe_objects_or_are_fixed(name: str, held_out: bool) -> None:
    rng = np.random.default_rng(5)
    made = [generate(graph, rng, category=name, held_out=held_out) for graph in random_scenes(60)]
    whole = [one for one in made if one and any(part.group == 'fixed' for part in one.groundings)]
    assert len(whole) >= 5
    for one in whole:
        covered = sorted((part.start, part.end) for part in one.groundings)
        assert [start for start, _ in covered[1:]] == [end for _, end in covered[:-1]]
        assert (covered[0][0], covered[-1][1]) == (0, len(one.text))


def test_few_sentences_that_ask_for_one_thing_are_split() -> None:
    segmenter = Segmenter.from_pretrained()
    simple = (
        'attribute',
        'plural',
        'request',
        *SUPERLATIVES,
        *RELATIONS,
        *(f'use {name}' for name in USES),
    )
    words = {'object': 'mug', 'objects': 'mugs', 'color': 'red', 'it': 'the red mug'}
    words |= {'anchor': 'blue plate', 'anchor2': 'green bowl'}
    split = [
        segmenter.query(text.format(**words)).operation is not None
        for meaning in simple
        if meaning != 'beside'
        for text in PARAPHRASES[meaning].trained
    ]
    assert np.mean(split) <= 0.03
