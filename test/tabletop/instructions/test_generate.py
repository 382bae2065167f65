"""Properties of the instructions of every category."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from instruction_scenes import random_scenes

from instructseg_ros.tabletop.instructions import (
    INSTRUCTION_CATEGORIES,
    TabletopInstruction,
    generate,
    new_words,
    vocabulary,
    wording,
)
from instructseg_ros.tabletop.instructions.generate import MAX_WORDS, WORD, all_wordings
from instructseg_ros.tabletop.instructions.wording import SLOT
from instructseg_ros.tabletop.world.catalogue import OBJECT_CATEGORIES

SCENES = random_scenes(40)


@cache
def made(category: str | None, **options: bool) -> list[TabletopInstruction]:
    rng = np.random.default_rng(7)
    drawn = [
        generate(graph, rng, category=category, **options) for graph in SCENES for _ in range(8)
    ]
    return [one for one in drawn if one is not None]


@pytest.mark.parametrize('category', INSTRUCTION_CATEGORIES)
@pytest.mark.parametrize('absent', [False, True])
def test_most_scenes_give_an_instruction_of_every_category(category: str, absent: bool) -> None:
    assert len(made(category, absent=absent)) >= 0.7 * 8 * len(SCENES)


@pytest.mark.parametrize('category', INSTRUCTION_CATEGORIES)
def test_only_absent_instructions_have_no_targets(category: str) -> None:
    assert all(one.targets for one in made(category))
    assert not any(one.targets for one in made(category, absent=True))


@pytest.mark.parametrize('category', ['attribute', 'superlative', 'relation', 'motion'])
def test_singular_instructions_mean_one_object(category: str) -> None:
    assert {len(one.targets) for one in made(category)} == {1}


@pytest.mark.parametrize('category', INSTRUCTION_CATEGORIES)
def test_targets_are_candidates_and_never_anchors(category: str) -> None:
    for one in made(category):
        assert one.targets <= one.candidates
        assert not one.targets & one.anchors


@pytest.mark.parametrize('absent', [False, True])
def test_the_same_seed_gives_the_same_instructions(absent: bool) -> None:
    def drawn() -> list[TabletopInstruction | None]:
        rng = np.random.default_rng(5)
        return [generate(graph, rng, absent=absent, held_out=True) for graph in SCENES]

    assert drawn() == drawn()


def test_without_a_category_every_category_comes_up() -> None:
    assert {one.category for one in made(None)} == set(INSTRUCTION_CATEGORIES)


def test_an_empty_scene_gives_nothing() -> None:
    assert generate((), np.random.default_rng(0)) is None
    assert generate((), np.random.default_rng(0), absent=True) is None


def test_an_unknown_category_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'colour'.*attribute"):
        generate(SCENES[0], np.random.default_rng(0), category='colour')


@pytest.mark.parametrize('category', INSTRUCTION_CATEGORIES)
@pytest.mark.parametrize('absent', [False, True])
def test_training_wordings_stay_within_the_vocabulary(category: str, absent: bool) -> None:
    known = set(vocabulary())
    for one in made(category, absent=absent):
        assert set(WORD.findall(one.text.lower())) <= known
        assert not one.held_out


@pytest.mark.parametrize('category', INSTRUCTION_CATEGORIES)
@pytest.mark.parametrize('absent', [False, True])
def test_held_out_texts_are_never_training_texts(category: str, absent: bool) -> None:
    rng = np.random.default_rng(11)
    for graph in SCENES[:4]:
        options = {'category': category, 'absent': absent}
        trained = {_bare(generate(graph, rng, **options)) for _ in range(800)}
        held_out = {_bare(generate(graph, rng, held_out=True, **options)) for _ in range(60)}
        assert not (trained & held_out) - {''}


def _bare(one: TabletopInstruction | None) -> str:
    return '' if one is None else one.text.lower().rstrip('?.')


def test_no_wording_is_both_trained_and_held_out() -> None:
    for words in all_wordings():
        assert words.trained or not words.held_out
        assert not set(words.trained) & set(words.held_out)


def test_new_words_are_those_of_no_training_wording() -> None:
    assert new_words('Where is the crimson automobile?') == {'crimson', 'automobile'}
    assert new_words('show me the red mug') == set()


def test_most_held_out_words_are_known_from_elsewhere() -> None:
    texts = {text for words in all_wordings() for text in words.held_out}
    new = [text for text in texts if new_words(SLOT.sub(' ', text))]
    assert len(new) <= 0.12 * len(texts)


@pytest.mark.parametrize('category', INSTRUCTION_CATEGORIES)
def test_every_category_has_many_templates_and_some_held_out(category: str) -> None:
    sentences = INSTRUCTION_CATEGORIES[category].sentences
    assert len(set(sentences.trained)) >= 10
    assert len(set(sentences.held_out)) >= 0.15 * len(set(sentences.trained))


@pytest.mark.parametrize('category', INSTRUCTION_CATEGORIES)
@pytest.mark.parametrize('held_out', [False, True])
def test_texts_are_short_and_well_formed(category: str, held_out: bool) -> None:
    for one in made(category, held_out=held_out) + made(category, held_out=held_out, absent=True):
        assert len(one.text.split()) <= MAX_WORDS
        assert one.text == one.text.strip()
        assert '  ' not in one.text
        assert '{' not in one.text


@pytest.mark.parametrize('category', INSTRUCTION_CATEGORIES)
def test_groundings_lie_on_whole_words_of_the_text(category: str) -> None:
    for one in made(category) + made(category, absent=True):
        labels = {label for grounding in one.groundings for label in grounding.weights}
        assert labels <= set(range(1, 11))
        for grounding in one.groundings:
            before, span = one.text[: grounding.start], one.text[grounding.start : grounding.end]
            assert span
            assert span == span.strip()
            assert not before or before.endswith(' ')
            assert one.text[grounding.end : grounding.end + 1] in ('', ' ', '?', '.', ',')
            assert all(0.0 <= weight <= 1.0 for weight in grounding.weights.values())


def test_the_vocabulary_is_sorted_lower_case_and_moderate() -> None:
    words = vocabulary()
    assert list(words) == sorted(set(words))
    assert all(WORD.fullmatch(word) for word in words)
    assert 200 <= len(words) <= 2600


def test_every_category_of_object_can_be_named() -> None:
    assert set(wording.NOUNS) == set(OBJECT_CATEGORIES)
