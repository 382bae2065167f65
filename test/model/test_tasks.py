"""Tasks, their names, and the prompt of each."""

from __future__ import annotations

import json

import pytest

from instructseg_ros.model.tasks import (
    COMPACT,
    IMAGE,
    REFER,
    RELEASED,
    SEG,
    TEMPORAL,
    Task,
    choose_task,
    prompt_name,
    split_prompt,
)
from instructseg_ros.streaming.segmentation import Source, State

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
def test_phrases_and_orders_about_an_object_refer(text: str) -> None:
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


# Written out in one piece each, as the authors' data has them; `<|endoftext|>` is left off, since
# nothing that is read comes after it.
IMAGE_REFERRING = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions. USER: This is an image <temporal>\n<image>\n, please doing Referring Segmentation according to the following instruction:\n<refer> ASSISTANT: \nSure, the segmentation result is [SEG]<seg>"  # noqa: E501
IMAGE_REASONING = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions. USER: This is an image <temporal>\n<image>\n, please doing Reasoning Segmentation according to the following instruction:\n<refer> ASSISTANT: \nSure, the segmentation result is [SEG]<seg>"  # noqa: E501
VIDEO_REFERRING = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions. USER: There are reference frames and key frame <temporal>\n<image>\n. Please doing Referring Segmentation according to the following instruction.\nThis is all the instruction: <refer>\n ASSISTANT: \nSure, the segmentation result is [SEG]<seg>"  # noqa: E501
VIDEO_REASONING = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions. USER: There are reference frames and key frame <temporal>\n<image>\n. Please doing Reasoning Segmentation according to the following instruction.\nThis is all the instruction: <refer>\n ASSISTANT: \nSure, the segmentation result is [SEG]<seg>"  # noqa: E501


def test_the_released_prompts_are_byte_exact() -> None:
    assert RELEASED['image_referring'].encode() == IMAGE_REFERRING.encode()
    assert RELEASED['image_reasoning'].encode() == IMAGE_REASONING.encode()
    assert RELEASED['video_referring'].encode() == VIDEO_REFERRING.encode()
    assert RELEASED['video_reasoning'].encode() == VIDEO_REASONING.encode()
    assert len(RELEASED) == 4


@pytest.mark.parametrize('name', RELEASED)
def test_places_of_a_released_prompt_come_in_the_authors_order(name: str) -> None:
    pieces = split_prompt(RELEASED[name])
    places = [piece for piece in pieces if piece.startswith('<')]
    assert places == [TEMPORAL, IMAGE, REFER, SEG]
    assert len(pieces) == 8  # a text before each place


@pytest.mark.parametrize('name', RELEASED)
def test_cutting_a_prompt_loses_nothing(name: str) -> None:
    assert ''.join(split_prompt(RELEASED[name])) == RELEASED[name]


def test_a_compact_prompt_is_the_image_then_the_instruction_for_every_task() -> None:
    assert set(COMPACT) == set(RELEASED)
    assert {tuple(split_prompt(prompt)) for prompt in COMPACT.values()} == {(IMAGE, REFER, SEG)}


@pytest.mark.parametrize(
    ('task', 'video', 'name'),
    [
        (Task.REFERRING, False, 'image_referring'),
        (Task.REASONING, False, 'image_reasoning'),
        (Task.REFERRING, True, 'video_referring'),
        (Task.REASONING, True, 'video_reasoning'),
    ],
)
def test_task_and_reference_frames_name_the_prompt(task: Task, video: bool, name: str) -> None:
    assert prompt_name(task, video=video) == name


@pytest.mark.parametrize(
    ('value', 'name', 'number'),
    [
        (State.NOT_FOUND, 'NOT_FOUND', 2),
        (Source.PROPAGATED, 'PROPAGATED', 2),
        (Task.REASONING, 'REASONING', 2),
    ],
)
def test_states_sources_and_tasks_print_their_names(
    value: State | Source | Task, name: str, number: int
) -> None:
    assert str(value) == f'{value}' == name
    assert f'{value:d}' == f'{value:1}' == str(number)
    assert value == number and json.dumps(value) == str(number)
