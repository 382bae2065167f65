from __future__ import annotations

import pytest

from instructseg_ros.model.spelling import closest, repair

pytest.importorskip('rapidfuzz')
KNOWN = {'the', 'red', 'mug', 'ball', 'bowl', 'book', 'yellow', 'hammer', 'spoon', 'an', 'all'}


@pytest.mark.parametrize(
    ('word', 'meant'),
    [
        ('mgu', 'mug'),
        ('mugg', 'mug'),
        ('rde', 'red'),
        ('yelow', 'yellow'),
        ('yelolw', 'yellow'),
        ('spooon', 'spoon'),
        ('hammmerr', 'hammer'),
        ('bal', 'ball'),
        ('giraffe', None),
        ('boll', None),  # ball or bowl
        ('am', None),  # words of two letters are not guessed
    ],
)
def test_a_word_is_read_as_the_only_one_that_it_resembles(word: str, meant: str | None) -> None:
    assert closest(word, KNOWN) == meant


@pytest.mark.parametrize(
    ('word', 'meant'),
    [
        ('bwol', 'bowl'),
        ('mugg', 'mug'),  # rather than "mugs"
        ('bok', 'book'),  # rather than "box"
        ('wite', None),  # white or write
    ],
)
def test_of_several_words_one_with_a_frequent_kind_of_error_is_meant(
    word: str, meant: str | None
) -> None:
    assert closest(word, KNOWN | {'mugs', 'box', 'white', 'write'}) == meant


def test_a_look_alike_is_no_typing_error() -> None:
    text = 'the red boot, the rde mgu'
    assert repair(text, ['boot', 'rde', 'mgu'], KNOWN, {'boot'}) == (
        'the red boot, the red mug',
        {'rde': 'red', 'mgu': 'mug'},
    )
    assert repair('the boot', ['boot'], KNOWN, ())[0] == 'the book'


def test_only_whole_words_are_replaced() -> None:
    assert repair('Mgu mgus', ['Mgu'], KNOWN, ())[0] == 'mug mgus'
