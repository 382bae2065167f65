from __future__ import annotations

import numpy as np
import pytest
from instruction_scenes import random_scene, scene_object

from instructseg_ros.tabletop.instructions.noun_phrase import (
    NounPhrase,
    absent_phrase,
    indefinite,
    nominal,
    pluralized,
    unique_phrase,
)
from instructseg_ros.tabletop.instructions.wording import Phrase, Writer


def writer(*objects: object, seed: int = 0) -> Writer:
    return Writer(objects, np.random.default_rng(seed), held_out=False)  # type: ignore[arg-type]


def test_a_phrase_fits_what_has_all_that_it_names() -> None:
    small_mug = scene_object(1, 'mug', 'red', size='small')
    assert NounPhrase().fits(small_mug)
    assert NounPhrase(category='mug', color='red', size='small').fits(small_mug)
    assert not NounPhrase(category='mug', color='blue').fits(small_mug)


@pytest.mark.parametrize(('size', 'nearly'), [('small', True), ('medium', True), ('large', False)])
def test_neighbouring_sizes_nearly_fit(size: str, nearly: bool) -> None:
    small_mug = scene_object(1, 'mug', 'red', size='small')
    assert NounPhrase(category='mug', size=size).nearly_fits(small_mug) is nearly


def test_a_unique_phrase_names_what_tells_an_object_from_the_others() -> None:
    red_mug, blue_mug = scene_object(1, 'mug'), scene_object(2, 'mug', 'blue')
    phrase = unique_phrase(red_mug, writer(red_mug, blue_mug, scene_object(3, 'box')))
    assert phrase == NounPhrase(category='mug', color='red')


def test_twins_have_no_unique_phrase() -> None:
    twins = scene_object(1, 'mug'), scene_object(2, 'mug')
    assert unique_phrase(twins[0], writer(*twins)) is None


@pytest.mark.parametrize('seed', range(40))
def test_an_absent_phrase_is_one_attribute_away_from_an_object(seed: int) -> None:
    graph = random_scene(seed)
    phrase = absent_phrase(writer(*graph, seed=seed), sized=True)
    assert phrase is not None
    assert not any(phrase.nearly_fits(one) for one in graph)
    named = {k: v for k, v in vars(phrase).items() if v is not None}
    off = [sum(getattr(one, name) != value for name, value in named.items()) for one in graph]
    assert min(off) == 1


def test_words_point_at_everything_they_are_true_of() -> None:
    named = ('mug', 'red'), ('mug', 'blue'), ('box', 'red')
    objects = [scene_object(label, *names) for label, names in enumerate(named, 1)]
    phrase = nominal(NounPhrase(category='mug', color='red'), writer(*objects), plain=True)
    pointed = {phrase.text[one.start : one.end]: set(one.weights) for one in phrase.groundings}
    assert pointed.pop('red') == {1, 3}
    assert list(pointed.values()) == [{1, 2}]


@pytest.mark.parametrize(
    ('noun', 'plural'),
    [
        *(('mug', 'mugs'), ('toy car', 'toy cars'), ('bread knife', 'bread knives')),
        *(('box', 'boxes'), ('torch', 'torches'), ('cherry', 'cherries'), ('toy', 'toys')),
    ],
)
def test_the_last_word_of_a_noun_is_made_plural(noun: str, plural: str) -> None:
    assert pluralized(noun) == plural


def test_the_article_agrees_with_the_next_sound() -> None:
    assert indefinite(Phrase('orange mug')).text == 'an orange mug'
    assert indefinite(Phrase('red apple')).text == 'a red apple'
