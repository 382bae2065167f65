from __future__ import annotations

from instructseg_ros.tabletop.instructions.wording import Phrase, compose, grounded


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
