from __future__ import annotations

import pytest
import torch
from small_models import SmallModel

from instructseg_ros.model.prompt_cache import PromptCache
from instructseg_ros.model.reuse import Expression
from instructseg_ros.model.tasks import Task


def cache_of(small: SmallModel, longest: int = 512) -> PromptCache:
    return PromptCache(small.processor, device=torch.device('cpu'), longest=longest)


def expression(text: str, task: Task = Task.REFERRING) -> Expression:
    return Expression(text=text, task=task, known=True, unknown=())


def test_the_same_texts_and_tasks_have_the_same_prompt(released: SmallModel) -> None:
    prompts = cache_of(released)
    first = prompts([[expression('the mug')], [expression('all')]], 2)
    assert prompts([[expression('the mug')], [expression('all')]], 2) is first


def test_other_texts_tasks_frames_or_references_have_another_prompt(released: SmallModel) -> None:
    prompts = cache_of(released)
    mug, ball = expression('the mug'), expression('the ball')
    asked = [
        ([[mug, ball]], 2),
        ([[mug], [ball]], 2),
        ([[ball], [mug]], 2),
        ([[mug], [ball]], 1),
        ([[mug], [expression('the ball', Task.REASONING)]], 2),
    ]
    assert len({id(prompts(*each)) for each in asked for _ in range(2)}) == len(asked)
    assert prompts([[mug, ball]], 2).input_ids.shape[:2] == (1, 2)
    assert prompts([[mug], [ball]], 2).input_ids.shape[:2] == (2, 1)


def test_prompts_are_padded_from_the_moment_on_that_it_is_wanted(small: SmallModel) -> None:
    prompts = cache_of(small)
    given = [[expression('the red mug')]]
    plain = prompts(given, 1)
    prompts.pad(8)
    padded = prompts(given, 1)
    assert padded is not plain and padded.input_ids.shape[-1] % 8 == 0


def test_a_prompt_that_is_too_long_is_refused_each_time(small: SmallModel) -> None:
    given = [[expression('the red mug')], [expression('all')]]
    length = cache_of(small)(given, 1).input_ids.shape[-1]
    prompts = cache_of(small, length - 1)
    for _ in range(2):
        with pytest.raises(ValueError, match=f'1 reference frames take {length} tokens'):
            prompts(given, 1)
