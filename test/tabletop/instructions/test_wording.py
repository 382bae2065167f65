from __future__ import annotations

import numpy as np

from instructseg_ros.tabletop.instructions.wording import (
    Phrase,
    Wordings,
    Writer,
    compose,
    grounded,
)

GREETING = Wordings(('hello', 'hi'), ('good day',))
SENTENCE = Wordings(('see {it}', 'find {it}'), ('look at {it}',))


def writers(*, held_out: bool) -> list[Writer]:
    return [Writer((), np.random.default_rng(seed), held_out=held_out) for seed in range(60)]


def test_training_never_draws_what_is_held_out() -> None:
    assert {one.pick(GREETING) for one in writers(held_out=False)} == {'hello', 'hi'}


def test_held_out_texts_mix_both() -> None:
    assert {one.pick(GREETING) for one in writers(held_out=True)} == {'hello', 'hi', 'good day'}


def test_a_held_out_sentence_always_has_a_held_out_wording() -> None:
    for one in writers(held_out=True):
        text = one.request(Phrase(one.pick(GREETING)), SENTENCE).text.lower()
        assert 'look at' in text or 'good day' in text


def test_a_request_may_be_nothing_but_the_object() -> None:
    texts = {one.request(Phrase('it'), SENTENCE).text for one in writers(held_out=False)}
    assert {'it', 'It', 'see it', 'Find it.'} <= texts


def test_groundings_move_along_with_their_words() -> None:
    mug = compose(
        'the {color} {noun}',
        color=grounded('red', {1: 1.0}, 'attribute'),
        noun=grounded('mug', {1: 1.0, 2: 1.0}, 'attribute'),
    )
    asked = compose('please find {it} for me', it=mug)
    assert asked.text == 'please find the red mug for me'
    assert [asked.text[one.start : one.end] for one in asked.groundings] == ['red', 'mug']
    assert [dict(one.weights) for one in asked.groundings] == [{1: 1.0}, {1: 1.0, 2: 1.0}]


def test_a_template_without_slots_is_itself() -> None:
    assert compose('what moves?') == Phrase('what moves?')


def test_wordings_are_read_from_alternatives_and_rows() -> None:
    assert Wordings.parse('a mug | a\n    cup // a can') == Wordings(('a mug', 'a cup'), ('a can',))
    rows = Wordings.table("""
        big one: large | big
            // huge
        red: red
    """)
    assert rows == {'big one': Wordings(('large', 'big'), ('huge',)), 'red': Wordings(('red',))}
