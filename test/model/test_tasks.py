from __future__ import annotations

import pytest

from instructseg_ros.model.tasks import Task, choose_task

REFERRING = [
    'mug',
    'red mug',
    'the red mug',
    'The Red Mug',
    '  the red mug\n',
    'left mug behind bowl',
    'all the bottles',
    'every spoon that is on a plate',
    'both of the balls on this side',
    'bring me the red mug',
    'my cup, please, before it gets cold',
    'hand over that green thing over there',
    'the thing that is moving left',
    'the largest one of these boxes',
    'can on the left',
    'Can behind the red mug',
    'will',
    '"the red mug"',
    '\u2018the red mug\u2019',
]
REASONING = [
    'what could I drink from?',
    'What would I cut bread with',
    'which of the mugs is closest to me?',
    'where is the red mug',
    'is the ball moving',
    'can you find the spoon',
    'Could someone hand me the spoon',
    'do we have the red mug here',
    'the red mug?',
    '"the red mug?"',
    '\u201cwhere is the red mug\u201d',
    'the red mug, is it there ? ',
    'something I can drink from',
    'bring me something I can drink from',
    'show me everything that rolls',
    'take whatever is made of glass',
    'point at what the child plays with',
    'I am thirsty and need a drink',
    'if it rains people need protection from water',
    'a person gets thirsty after a long run',
]


@pytest.mark.parametrize('text', REFERRING)
def test_phrases_and_orders_about_a_thing_refer(text: str) -> None:
    assert choose_task(text) is Task.REFERRING


@pytest.mark.parametrize('text', REASONING)
def test_questions_and_implicit_requests_need_reasoning(text: str) -> None:
    assert choose_task(text) is Task.REASONING


def test_a_question_word_inside_another_word_is_no_question() -> None:
    assert choose_task('issue 7 of the magazine on this table') is Task.REFERRING
    assert choose_task('whichever of the mugs') is Task.REFERRING
    assert choose_task('the whatnot and the other things here') is Task.REFERRING


def test_the_values_are_those_of_the_messages() -> None:
    assert [task.value for task in (Task.AUTO, Task.REFERRING, Task.REASONING)] == [0, 1, 2]


@pytest.mark.parametrize('text', ['', '   ', '?', '...', 'zażółć gęślą jaźń', '\u0000\u0007'])
def test_any_text_gets_a_task(text: str) -> None:
    assert choose_task(text) in (Task.REFERRING, Task.REASONING)
