from __future__ import annotations

import pytest

from instructseg_ros.model.noun_query import NounReader

NOUNS = {
    'dog': [151, 152],
    'car': [436, 817],
    'cup': [968],
    'coffee mug': [504],
    'mug': [504],
    'orange': [950],
    'knife': [499],
    'mouse': [673],
    'drink': [967],
    'watch': [531],
    'bus': [779],
}


@pytest.fixture(scope='module')
def reader() -> NounReader:
    return NounReader(NOUNS)


@pytest.mark.parametrize(
    ('text', 'noun'),
    [
        ('the dog', 'dog'),
        ('Show me the dogs!', 'dogs'),
        ('hand me a coffee mug', 'coffee mug'),
        ('two knives, please', 'knives'),
        ('where are the mice?', 'mice'),
        ('dog', 'dog'),
        ('the buses', 'buses'),
    ],
)
def test_a_noun_is_found_in_any_number(reader: NounReader, text: str, noun: str) -> None:
    query = reader.read(text)
    assert query is not None and query.noun == noun


def test_the_noun_after_a_determiner_is_meant(reader: NounReader) -> None:
    query = reader.read('watch the dog next to the car')
    assert query is not None and query.noun == 'dog' and query.classes == (151, 152)


def test_a_verb_is_no_noun(reader: NounReader) -> None:
    assert reader.read('something to drink from') is None


def test_an_orange_is_a_fruit_and_an_orange_cup_is_a_cup(reader: NounReader) -> None:
    fruit, cup = reader.read('the orange'), reader.read('the orange cup')
    assert fruit is not None and fruit.noun == 'orange' and not fruit.color
    assert cup is not None and cup.noun == 'cup' and cup.color == 'orange'


def test_color_side_and_size_are_read(reader: NounReader) -> None:
    query = reader.read('the biggest grey car on the left')
    assert query is not None
    assert (query.color, query.side, query.size) == ('gray', 'left', 'largest')


@pytest.mark.parametrize(
    ('text', 'word'),
    [
        ("the dog that isn't brown", "isn't"),
        ('the dog that is not brown', 'not'),
        ('all dogs except the red one', 'except'),
        ('the brown dog', ''),
    ],
)
def test_an_exclusion_is_noticed(reader: NounReader, text: str, word: str) -> None:
    query = reader.read(text)
    assert query is not None and query.unread == word


def test_an_instruction_without_a_known_noun_names_nothing(reader: NounReader) -> None:
    assert reader.read('the thing over there') is None
    assert reader.read('') is None
