from __future__ import annotations

import pytest

from instructseg_ros.model.composition import (
    AllOf,
    Composition,
    InOrder,
    Nearest,
    OneOf,
    Operation,
    Without,
)
from instructseg_ros.model.composition_reader import CompositionReader
from instructseg_ros.model.relations import Related

SINGULAR = ('mug', 'book', 'spoon', 'can', 'bowl', 'plate', 'box', 'bottle', 'ball', 'orange')
TAUGHT_SINGULAR = ('star', 'stapler', 'paper clip')
TAUGHT = {*TAUGHT_SINGULAR, *(f'{noun}s' for noun in TAUGHT_SINGULAR)}
NOUNS = {*SINGULAR, *(f'{noun}s' for noun in SINGULAR), *(noun.split()[-1] for noun in TAUGHT)}
READER = CompositionReader(NOUNS.__contains__, TAUGHT.__contains__)


def read(text: str) -> Composition | None:
    return READER.read(text)


def assert_read(text: str, operation: Operation, *parts: str | None) -> None:
    composition = read(text)
    assert composition is not None, text
    assert (composition.operation, composition.parts) == (operation, parts), text


@pytest.mark.parametrize(
    ('place', 'relation'),
    [
        *[(words, 'in') for words in ('in', 'inside', 'inside of', 'within', 'into', 'lying in')],
        *[(words, 'in') for words in ('down in', 'at the bottom of', 'contained in', 'kept in')],
        *[(words, 'on') for words in ('on', 'on top of', 'upon', 'onto', 'atop', 'standing on')],
        *[(words, 'on') for words in ('at the top of', 'right on top of', 'supported by')],
        *[(words, 'left') for words in ('left of', 'to the left of', 'on the left side of')],
        *[(words, 'left') for words in ('on the left of', 'further left than', 'leftwards of')],
        *[(words, 'right') for words in ('right of', 'to the right of', 'on the right of')],
        *[(words, 'right') for words in ('over to the right of', 'on the right hand side of')],
        *[(words, 'behind') for words in ('behind', 'beyond', 'in back of', 'at the back of')],
        *[(words, 'behind') for words in ('right behind', 'further away than', 'to the rear of')],
        *[(words, 'front') for words in ('in front of', 'before', 'just in front of', 'ahead of')],
        *[(words, 'front') for words in ('closer to me than', 'nearer than', 'to the front of')],
        *[(words, 'above') for words in ('above', 'over')],
        *[(words, 'below') for words in ('below', 'under', 'underneath', 'beneath')],
        *[(words, 'far') for words in ('far from', 'far away from', 'farthest from')],
    ],
)
@pytest.mark.parametrize(
    'sentence',
    [
        'the red star {} the blue bowl',
        'please hand me the red star that is {} the blue bowl',
        'where is the red star {} the blue bowl?',
        'can you see a red star {} the blue bowl',
        'which red star is {} the blue bowl?',
        'the red star, the one {} the blue bowl',
        "I'd like the red star that's {} the blue bowl, please.",
    ],
)
def test_a_place_has_many_wordings(sentence: str, place: str, relation: str) -> None:
    assert_read(sentence.format(place), Related(relation), 'every red star', 'the blue bowl')


@pytest.mark.parametrize(
    ('text', 'relation', 'parts'),
    [
        ('the mug left of the star', 'left', ('every mug', 'the star')),
        ('the mug, left of the star', 'left', ('every mug', 'the star')),
        ('the thing behind the stapler', 'behind', ('every thing', 'the stapler')),
        ('what is behind the stapler?', 'behind', ('every object', 'the stapler')),
        ("what's on the star?", 'on', ('every object', 'the star')),
        ('something in front of the stapler', 'front', ('every object', 'the stapler')),
        ('the one behind the stapler', 'behind', ('every object', 'the stapler')),
        ('the red one left of the star', 'left', ('every red object', 'the star')),
        ('the star left of the red star', 'left', ('every star', 'the red star')),
        ('the star left of the red one', 'left', ('every star', 'the red star')),
        ('the star in the orange bowl', 'in', ('every star', 'the orange bowl')),
        ('the star in the biggest bowl', 'in', ('every star', 'the biggest bowl')),
        ('the star in my bowl', 'in', ('every star', 'my bowl')),
        ('star in bowl', 'in', ('every star', 'bowl')),
        ('the star that is red on the plate', 'on', ('every red star', 'the plate')),
        ("the star to the mug's left", 'left', ('every star', 'the mug')),
        ("the stapler on the red mug's right side", 'right', ('every stapler', 'the red mug')),
        ('one of the stars in the bowl', 'in', ('all the stars', 'the bowl')),
        ('which of the stars is in the bowl?', 'in', ('all the stars', 'the bowl')),
        ('take the star out of the bowl', 'in', ('every star', 'the bowl')),
        ('in the bowl there is a star', 'in', ('every star', 'the bowl')),
        ('behind the mug you will find a star, take it', 'behind', ('every star', 'the mug')),
        ('look behind the bottle and take the star', 'behind', ('every star', 'the bottle')),
        ('the star in the bowl on the left', 'in', ('every star', 'the bowl on the left')),
        ('the star in the bowl next to the mug', 'in', ('every star', 'the bowl next to the mug')),
        ('the farthest star from the mug', 'far', ('every star', 'the mug')),
        ('the star in the bowl, not the one on the plate', 'in', ('every star', 'the bowl')),
    ],
)
def test_a_taught_object_is_a_target_or_an_anchor(
    text: str, relation: str, parts: tuple[str, ...]
) -> None:
    assert_read(text, Related(relation), *parts)


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('the star between the mug and the can', ('every star', 'the mug', 'the can')),
        (
            'the star between the red and the blue mug',
            ('every star', 'the red mug', 'the blue mug'),
        ),
        ('the star between the two mugs', ('every star', 'all the mugs')),
        ('the can between two stars', ('every can', 'all the stars')),
        ('the can in the middle of the star and the mug', ('every can', 'the star', 'the mug')),
        ('what is between the star and the mug?', ('every object', 'the star', 'the mug')),
        ('between the mug and the can there is a star', ('every star', 'the mug', 'the can')),
    ],
)
def test_between_has_two_anchors(text: str, parts: tuple[str, ...]) -> None:
    assert_read(text, Related('between'), *parts)


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('all the stars in the bowl', ('all the stars', 'the bowl')),
        ('every star in the bowl', ('every star', 'the bowl')),
        ('the stars in the bowl', ('all the stars', 'the bowl')),
        ('both red stars in the bowl', ('all the red stars', 'the bowl')),
        ('the two stars in the bowl', ('all the stars', 'the bowl')),
        ('how many stars are in the bowl?', ('all the stars', 'the bowl')),
        ('all the paper clips in the bowl', ('all the paper clips', 'the bowl')),
    ],
)
def test_several_objects_may_be_in_a_place(text: str, parts: tuple[str, ...]) -> None:
    assert_read(text, Related('in', several=True), *parts)


@pytest.mark.parametrize(
    ('text', 'relation', 'parts'),
    [
        ('the bowl with the star in it', 'holding', ('every bowl', 'the star')),
        ('the plate with a star on top of it', 'holding', ('every plate', 'a star')),
        ('the mug with a star inside', 'holding', ('every mug', 'a star')),
        ('the bowl that contains the star', 'holding', ('every bowl', 'the star')),
        ('the bowl that the star is in', 'holding', ('every bowl', 'the star')),
        ('the bowl in which the star lies', 'holding', ('every bowl', 'the star')),
        ('what is the star in?', 'holding', ('every object', 'the star')),
        ('the mug with the star on its left', 'right', ('every mug', 'the star')),
        ('the mug that has a star in front of it', 'behind', ('every mug', 'a star')),
        ('the star that the mug is left of', 'right', ('every star', 'the mug')),
        ('the plate under the star', 'below', ('every plate', 'the star')),
    ],
)
def test_a_place_may_be_described_from_the_anchor(
    text: str, relation: str, parts: tuple[str, ...]
) -> None:
    assert_read(text, Related(relation), *parts)


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('the paper clip in the bowl', ('every paper clip', 'the bowl')),
        ('paper clip in the bowl', ('every paper clip', 'the bowl')),
        ('the blue paper clip in the bowl', ('every blue paper clip', 'the bowl')),
        ('the bowl in the paper clip', ('every bowl', 'the paper clip')),
    ],
)
def test_a_taught_noun_may_have_several_words(text: str, parts: tuple[str, ...]) -> None:
    assert_read(text, Related('in'), *parts)
    words = {word for noun in TAUGHT for word in noun.split()}
    for nouns, taught in (({*NOUNS, 'paper'}, TAUGHT), (NOUNS, words)):
        composition = CompositionReader(nouns.__contains__, taught.__contains__).read(text)
        assert composition is not None and composition.parts == parts


@pytest.mark.parametrize(
    ('text', 'order', 'part'),
    [
        ('the leftmost star in the bowl', 'left', 'every star in the bowl'),
        ('the biggest star on the plate', 'large', 'every star on the plate'),
        ('the smallest mug behind the star', 'small', 'every mug behind the star'),
    ],
)
def test_a_superlative_chooses_among_the_objects_in_a_place(
    text: str, order: str, part: str
) -> None:
    assert_read(text, InOrder(order), part, part)
    composition = read(part)
    assert composition is not None and composition.operation in (
        Related('in', several=True),
        Related('on', several=True),
        Related('behind', several=True),
    )


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('the star that is not in the bowl', ('every star', 'every star in the bowl')),
        ("the red star that isn't in the bowl", ('every red star', 'every red star in the bowl')),
        ('every star except the one in the bowl', ('every star', 'every star in the bowl')),
        ('all the stars but those in the bowl', ('all the stars', 'all the stars in the bowl')),
    ],
)
def test_a_place_may_be_ruled_out(text: str, parts: tuple[str, str]) -> None:
    assert_read(text, Without(), parts[0], *parts)


@pytest.mark.parametrize(
    ('text', 'operation', 'parts'),
    [
        ('the star in the bowl and the red mug', AllOf(), ('the star in the bowl', 'the red mug')),
        ('the mug and the star in the bowl', AllOf(), ('the mug', 'the star in the bowl')),
        ('the star in the bowl or the mug', OneOf(), ('the star in the bowl', 'the mug')),
        ('the star next to the mug', Nearest(), ('every star', 'the mug')),
        ('the mug nearest to the star', Nearest(), ('every mug', 'the star')),
        ('the star closest to the mug', Nearest(), ('every star', 'the mug')),
        ('the mug near the star on the plate', Nearest(), ('every mug', 'the star')),
        ('the star that is not red', Without(), (None, 'every star', 'every red star')),
        ('the second star from the left', InOrder('left', 2, 2), ('every star', None)),
    ],
)
def test_other_readers_keep_their_precedence(
    text: str, operation: Operation, parts: tuple[str | None, ...]
) -> None:
    assert_read(text, operation, *parts)


@pytest.mark.parametrize(
    'text',
    [
        'the star',
        'the leftmost star',
        'the biggest star',
        'the star on the left',
        'the star on the left side',
        'the star on the right of the table',
        'the star on my left',
        'the star in the picture',
        'the one on the left of the two stars',
        'put the star in the bowl',
        'move the star to the left of the mug',
        'the star inside',
        'the star on it',
        'open the box and take the star',
    ],
)
def test_without_an_anchor_there_is_no_relation(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    'text', ['the mug in the bowl', 'the ball left of the mug', 'the bowl with the ball in it']
)
def test_known_objects_are_left_to_the_language_model(text: str) -> None:
    assert read(text) is None


def test_a_taught_noun_may_be_a_word_that_is_no_object_otherwise() -> None:
    reader = CompositionReader(NOUNS.__contains__, {'remote'}.__contains__)
    composition = reader.read('the remote in the bowl')
    assert composition is not None and composition.parts == ('every remote', 'the bowl')


def test_a_color_in_a_taught_noun_remains_a_color() -> None:
    reader = CompositionReader(NOUNS.__contains__, {'red', 'star'}.__contains__)
    composition = reader.read('the red star in the red bowl')
    assert composition is not None and composition.parts == ('every red star', 'the red bowl')


def test_by_default_nothing_was_taught() -> None:
    assert CompositionReader(NOUNS.__contains__).read('the star in the bowl') is None


@pytest.mark.parametrize(
    'text',
    [
        'the star in ' * 300,
        'in the star with ' * 300,
        'star ' + 'the red ' * 500,
        'star ' + 'in that is ' * 500,
        'star ' + 'in , ' * 1000,
        'is ' * 2000 + 'star',
    ],
    ids=range(6),
)
def test_hostile_texts_are_read_quickly(text: str) -> None:
    assert read(text) is None
