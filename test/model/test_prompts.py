from __future__ import annotations

import pytest

from instructseg_ros.model.tasks import (
    COMPACT,
    IMAGE,
    REFER,
    RELEASED,
    SEG,
    TEMPORAL,
    Task,
    prompt_name,
    split_prompt,
)

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
