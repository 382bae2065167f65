from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.published import llava

FILE = 'llava_v1_5_mix665k.json'


def write(folder: Path, *items: Any) -> None:
    (folder / FILE).write_text(json.dumps(items))


def item(*said: tuple[str, str], **others: Any) -> dict[str, Any]:
    conversations = [{'from': speaker, 'value': value} for speaker, value in said]
    return {
        'id': '000000033471',
        'image': 'coco/train2017/a.jpg',
        'conversations': conversations,
        **others,
    }


def test_the_image_is_left_to_the_prompt(tmp_path: Path) -> None:
    write(
        tmp_path,
        item(
            ('human', '<image>\nWhat is it?'),
            ('gpt', 'A bus.'),
            ('human', 'Whose?\n<image>'),
            ('gpt', 'Mine.'),
        ),
    )
    [sample] = llava.read(tmp_path, 'train').samples
    turns = [(turn.question, turn.answer) for turn in sample.turns]
    assert turns == [('What is it?', 'A bus.'), ('Whose?', 'Mine.')]
    assert sample.frames[0].path == tmp_path / 'coco/train2017/a.jpg'  # type: ignore[attr-defined]


def test_two_conversations_about_an_image_are_two_samples(tmp_path: Path) -> None:
    said = (('human', 'What is it?'), ('gpt', 'A bus.'))
    write(tmp_path, item(*said), {'id': 'words', 'conversations': []}, item(*said))
    reading = llava.read(tmp_path, 'train')
    assert [sample.key for sample in reading.samples] == ['0', '2']
    assert reading.problems == []


def test_an_answer_without_a_question_before_it_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, item(('gpt', 'Hello.'), ('human', '<image>\nWhat is it?'), ('gpt', 'A bus.')))
    reading = llava.read(tmp_path, 'train')
    [sample] = reading.samples
    assert [(turn.question, turn.answer) for turn in sample.turns] == [('What is it?', 'A bus.')]
    assert reading.problems == []


@pytest.mark.parametrize(
    ('broken', 'reason'),
    [
        (item(('human', 'a')), 'human and gpt must take turns, but the speakers are human'),
        (item(('gpt', 'a'), ('human', 'b')), 'take turns, but the speakers are human'),
        (item(('gpt', 'a'), ('gpt', 'b'), ('human', 'c')), 'the speakers are gpt, human'),
        (item(('system', 'a'), ('human', 'b'), ('gpt', 'c')), 'the speakers are system'),
        (item(), 'human and gpt must take turns'),
        (item(('human', 'a'), ('gpt', 'b'), image=None), 'NoneType'),
        ({'image': 'a.jpg'}, "'conversations' is missing"),
        (7, 'not subscriptable'),
    ],
)
def test_an_invalid_conversation_is_reported(tmp_path: Path, broken: Any, reason: str) -> None:
    write(tmp_path, broken, item(('human', 'a'), ('gpt', 'b')))
    reading = llava.read(tmp_path, 'train')
    [problem] = reading.problems
    assert str(problem).startswith(f'{tmp_path / FILE} entry 0: ') and reason in str(problem)
    assert len(reading.samples) == 1


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"image": []}')
    with pytest.raises(DataError, match='has no list'):
        llava.read(tmp_path, 'train')
