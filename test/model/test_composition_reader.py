from __future__ import annotations

import pytest

from instructseg_ros.model.composition import AllOf, InOrder, Nearest, OneOf, Operation, Without
from instructseg_ros.model.composition_reader import Composition, CompositionReader

NOUNS = {'mug', 'mugs', 'book', 'spoon', 'soup', 'can', 'cans', 'dog', 'table', 'head', 'ball'}


def read(text: str) -> Composition | None:
    return CompositionReader(NOUNS.__contains__).read(text)


def assert_read(text: str, operation: Operation, *parts: str | None) -> None:
    composition = read(text)
    assert composition is not None, text
    assert (composition.operation, composition.parts) == (operation, parts), text


@pytest.mark.parametrize(
    'text',
    [
        'the red mug',
        'Hand me something I could drink from, please.',
        'the mug between the book and the spoon',
        'the thing with a head and a handle',
        'when the bell rings, pick up both of those mugs',
        'since my hands are full, get the spoon',
        "I don't know where the red mug is",
        "isn't there a can which is painted green?",
        'can you bring me the book?',
        'that mug, the red one',
        'the leftmost mug',
        'the biggest mug',
        'the bigger one of the two mugs',
        'the one on the left of the two mugs',
        'a middle size black mug',
        'the mug closest to me',
        'the mug left of the book',
        'the apple carried by the dish',
        'the mug and the moon',
        'the leftmost of the three mugs',
        'from the four mugs, take the one on the left',
        'the mug with two handles on the right',
        'the second and third mug from the left',
        'the red and white mug',
        'put the mug next to the book',
        "please don't spill the red mug when you bring it",
        "don't break it: the red mug",
        'whether or not the mug is red, bring it',
        "if there's no red mug, take the blue mug",
        'nothing but the red mug',
        'oh no, the red mug',
        'the second closest mug to the book',
        'look behind the book and pick up the mug',
        'reach past the book and take the mug at the back of it',
        "find the book, then get me the mug that's on its left",
        'we need exactly one thing, the red mug',
        'the book, no sorry, the mug',
        'reach past the mug and the book and take the ball',
        'the mug sandwiched by the book and the ball',
        "don't mind the mug and take the book",
        "if you can't see the red mug, it's behind the book, next to the ball",
        'give me a second, the red mug on the left',
        'the second mug near the book',
        'the thing behind the mug; the book',
        'when the ball rolls, take the mug',
        'look, on the book, a mug!',
        'something to hold spoons or balls',
        'the book about cats and dogs',
        'the mug like a ball or a book',
        'I have the mug and need the book',
        'open the can and take the ball',
        'the mug, sorry, the book',
        'take the mug, the gizmo and the book',
        'the two tone mug on the right',
        'second, take the mug on the right',
        'the biggest mug in the second row',
        'the ball behind the second mug from the left',
        'the second mug from the left and the ball',
        'the first and the third mug from the left',
        'the second-to-last mug on the right',
        'the mug with the second biggest spoon',
        'the ball in the middle of the three mugs',
        'the middle-sized mug',
        'why not the red mug?',
        'the mug is hot, so take the book',
        'the mug on the left; the book on the right',
        'mug and ' * 300 + 'mug',
        '',
        '?!',
    ],
)
def test_simple_instructions_and_unknown_forms_are_not_split(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('mug + book', ('mug', 'book')),
        ('push the mug and the book towards me', ('push the mug', 'the book towards me')),
        ('the mug (red) and the book (blue)', ('the mug, the red one', 'the book, the blue one')),
        ('the mug and the book over there', ('the mug', 'the book over there')),
        (
            'the mug on the table in the can and the book',
            ('the mug on the table in the can', 'the book'),
        ),
        ('the mug and the can with my name on it', ('the mug', 'the can with my name on it')),
        ('I want the mug. I want the book.', ('i want the mug', 'the book')),
        ('she wants the mug, I want the book', ('she wants the mug', 'the book')),
        ('the round mug and the book', ('the round mug', 'the book')),
        ('the red one behind the mug and the ball', ('the red one behind the mug', 'the ball')),
        ('the mug (the red one) and the book', ('the mug, the red one', 'the book')),
        ("the mug that's red together with the book", ("the mug that's red", 'the book')),
        ('the mug and the book? I want them both.', ('the mug', 'the book')),
        ('the mug and the book', ('the mug', 'the book')),
        (
            'Bring me the red mug, and the blue book too.',
            ('bring me the red mug', 'the blue book too'),
        ),
        ('both the mug and the book', ('the mug', 'the book')),
        ('red mug and blue book', ('red mug', 'blue book')),
        ('the red and the blue mug', ('the red mug', 'the blue mug')),
        ('the blue mug and the red one', ('the blue mug', 'the red mug')),
        ('not only the mug but also the book', ('the mug', 'also the book')),
        ('the orange and the mug', ('the orange', 'the mug')),
        ('the can as well as the soup spoon', ('the can', 'the soup spoon')),
    ],
)
def test_two_targets_become_two_instructions(text: str, parts: tuple[str, ...]) -> None:
    assert_read(text, AllOf(), *parts)


@pytest.mark.parametrize(
    'text',
    [
        'the mug or the book',
        'either the mug or the book',
        'the mug or else the book',
        'the mug if there is one, otherwise the book',
        'the mug unless it is gone, in which case the book',
        'have we the mug? no? the book',
    ],
)
def test_alternatives_become_two_instructions(text: str) -> None:
    composition = read(text)
    assert composition is not None and composition.operation == OneOf()
    first, second = composition.parts
    assert first is not None and first.endswith('the mug') and second == 'the book'


@pytest.mark.parametrize(
    ('text', 'operation', 'candidates'),
    [
        ('the second mug from the left', InOrder('left', first=2, last=2), 'every mug'),
        (
            'third red mug, counting from the right',
            InOrder('right', first=3, last=3),
            'every red mug',
        ),
        ('mug number two from the left', InOrder('left', first=2, last=2), 'every mug'),
        ('going left to right, the 3rd mug', InOrder('left', first=3, last=3), 'every mug'),
        ('the second of the mugs from the left', InOrder('left', first=2, last=2), 'all the mugs'),
        ('the two mugs on the right', InOrder('right', first=1, last=2), 'all the mugs'),
        ('the first of the three mugs from the left', InOrder('left'), 'all the mugs'),
        ('the first two mugs from the left', InOrder('left', first=1, last=2), 'all the mugs'),
        ('the second closest mug', InOrder('front', first=2, last=2), 'every mug'),
        ('the third furthest away mug', InOrder('back', first=3, last=3), 'every mug'),
        ('the second biggest mug', InOrder('large', first=2, last=2), 'every mug'),
        ('the two smallest mugs', InOrder('small', first=1, last=2), 'all the mugs'),
        (
            'look left, count, then take the second mug',
            InOrder('left', first=2, last=2),
            'every mug',
        ),
        ('mug no. 3, left-to-right', InOrder('left', first=3, last=3), 'every mug'),
        (
            'right one first, the third of the mugs',
            InOrder('right', first=3, last=3),
            'all the mugs',
        ),
        (
            'the pair of mugs furthest to the right',
            InOrder('right', first=1, last=2),
            'all the mugs',
        ),
        ('the second least near mug', InOrder('back', first=2, last=2), 'every mug'),
        ('the next-to-largest mug', InOrder('large', first=2, last=2), 'every mug'),
        (
            'not the biggest mug, the one just below it',
            InOrder('large', first=2, last=2),
            'every mug',
        ),
        ('only one mug is smaller than mine', InOrder('small', first=2, last=2), 'every mug'),
        (
            'give me the mug one up from the smallest',
            InOrder('small', first=2, last=2),
            'every mug',
        ),
        (
            'my dog wants the second mug from the left',
            InOrder('left', first=2, last=2),
            'every mug',
        ),
        ('the second red one from the left', InOrder('left', first=2, last=2), 'every red object'),
        ('the mug with one on either side', InOrder('left', first=2, last=2, of=3), 'every mug'),
        (
            'not the outer mugs but the middle one',
            InOrder('left', first=2, last=2, of=3),
            'all the mugs',
        ),
        ('the middle mug', InOrder('left', first=2, last=2, of=3), 'every mug'),
        ('the mug in the middle', InOrder('left', first=2, last=2, of=3), 'every mug'),
    ],
)
def test_an_order_needs_all_candidates(text: str, operation: InOrder, candidates: str) -> None:
    assert_read(text, operation, candidates, None)


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('the mug next to the red book', ('every mug', 'the red book')),
        ('mug beside the book', ('every mug', 'the book')),
        ('the red thing right by the book, please', ('every red thing', 'the book')),
        ('what is near the book?', ('every object', 'the book')),
        ("find the blue book, then take what's at its side", ('every object', 'the blue book')),
        ('the closest mug to the book', ('every mug', 'the book')),
        ('the mug with the spoon next to it', ('every mug', 'the spoon')),
        ("next to the book you'll find a mug", ('every mug', 'the book')),
    ],
)
def test_a_neighbor_is_looked_for_among_all_candidates(text: str, parts: tuple[str, ...]) -> None:
    assert_read(text, Nearest(), *parts)


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('the mug that is not red', ('every mug', 'every red mug')),
        ("the mug that isn't red", ('every mug', 'every red mug')),
        ('the non-red mug', ('every mug', 'every red mug')),
        ('all the mugs except the red one', ('all the mugs', 'all the red mugs')),
        ('any mug but the red one', ('every mug', 'every red mug')),
        ("I don't want the red mug, give me the other one", ('every mug', 'every red mug')),
        ('the mug that is neither red nor blue', ('every mug', 'every red mug', 'every blue mug')),
        ("the red thing that isn't a mug", ('every red thing', 'every mug')),
        (
            'rule out red, rule out blue, and take the mug',
            ('every mug', 'every red mug', 'every blue mug'),
        ),
        ('the red mug stays here, bring me the other one', ('every mug', 'every red mug')),
        ("I can't stand red, so hand me the mug", ('every mug', 'every red mug')),
        ("the mug that isn't an orange", ('every mug', 'every orange')),
        ("the can that ain't red", ('every can', 'every red can')),
    ],
)
def test_what_is_ruled_out_becomes_an_instruction(text: str, parts: tuple[str, ...]) -> None:
    assert_read(text, Without(), None, *parts)


@pytest.mark.parametrize(
    'text', ['not the red mug but the blue mug', "I don't want both red mugs, only the left one"]
)
def test_what_is_wanted_after_a_negation_is_not_ruled_out(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ("the mug's neighbour", ('every thing', 'the mug')),
        ("the book that is the mug's neighbour", ('every book', 'the mug')),
        ('the mug (next to the book)', ('every mug', 'the book')),
        ('the mug. Next to the book.', ('every mug', 'the book')),
        ("if you can't see the mug, give me the book next to it", ('every book', 'the mug')),
        ('the mug has got something next to it, take it', ('every object', 'the mug')),
        ('my mug is the one with a spoon next to it', ('every mug', 'a spoon')),
    ],
)
def test_a_neighbor_may_be_named_after_what_it_is_next_to(
    text: str, parts: tuple[str, str]
) -> None:
    assert_read(text, Nearest(several=False), *parts)


@pytest.mark.parametrize(
    'text',
    [
        "the mug, or if there isn't one, the book",
        "the mug or if it isn't there then the book",
        'the mug or, if not, the book',
        "if you can't find the mug, the book instead",
        "the mug or the book, don't mind which",
    ],
)
def test_a_second_choice_is_an_alternative(text: str) -> None:
    assert_read(text, OneOf(), 'the mug', 'the book')


def test_all_neighbors_are_asked_for_in_the_plural() -> None:
    assert_read('the mugs next to the book', Nearest(several=True), 'all the mugs', 'the book')


@pytest.mark.parametrize(
    'text', ['a ' * 900, 'the red ' * 250, 'mug, ' * 400, ',' * 2000, 'or if it ' * 200]
)
def test_hostile_texts_are_read_in_linear_time(text: str) -> None:
    assert read(text) is None
