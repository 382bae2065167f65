from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_models import SmallModel

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.query import FrameFeatures, Query
from instructseg_ros.model.query_reader import (
    PromptCache,
    QueryBatch,
    QueryReader,
    group,
    in_batches,
)
from instructseg_ros.model.stage_outputs import PrefixCache, Prompt
from instructseg_ros.model.tasks import Task

# Instructions of both tasks and three lengths.
RED, BLUE, ALL = 'the red mug', 'where is the left ball of all', 'mug'
REASONING = (BLUE,)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


class Perceived:
    """Frames, and pairs of a frame and a query, of each run of the perceiver."""

    def __init__(self, model: InstructSegModel) -> None:
        self._runs: list[tuple[int, int]] = []
        self.hook = model.perceiver.register_forward_hook(self._note)

    def _note(self, _: object, inputs: tuple[Any, ...], __: object) -> None:
        frames, words = inputs[:2]
        self._runs.append((len(frames), len(words)))

    def take(self) -> list[tuple[int, int]]:
        """Return the runs since the last call, smallest first."""
        runs, self._runs = sorted(self._runs), []
        return runs


@pytest.fixture
def perceived(released: SmallModel) -> Iterator[Perceived]:
    watch = Perceived(released.model)
    yield watch
    watch.hook.remove()


def prompt_of(small: SmallModel, queries: Sequence[Query], references: int) -> Prompt:
    """Return the prompt of queries on one frame."""
    return prompts_of(small, [queries], references)


def prompts_of(small: SmallModel, queries: Sequence[Sequence[Query]], references: int) -> Prompt:
    return small.processor.prompt(
        [[each.prompt_text or '' for each in frame] for frame in queries],
        task=[[each.task for each in frame] for frame in queries],
        reference_frames=references,
    )


def reader_of(small: SmallModel) -> QueryReader:
    return QueryReader(small.model, lambda given, count: prompts_of(small, given, count))


def reading(given: Sequence[Query], frames: Sequence[FrameFeatures]) -> QueryBatch:
    """Return queries on one frame, with some frames as references."""
    return QueryBatch(queries=given, features=frames[0], references=tuple(frames))


def read_tokens(
    reader: QueryReader, given: Sequence[Query], frames: Sequence[FrameFeatures]
) -> torch.Tensor:
    """Return the reference tokens of queries on one frame."""
    return reader.reference_tokens([reading(given, frames)])


def query(text: str) -> Query:
    task = Task.REASONING if text in REASONING else Task.REFERRING
    made = Query(text=text, task=task)
    made.prompt_text = text
    return made


def queries(*texts: str) -> list[Query]:
    return [query(text) for text in texts]


def frames_of(small: SmallModel, count: int) -> list[FrameFeatures]:
    config = small.model.config
    vision = torch.randn(
        count, config.image_tokens, config.hidden_size, generator=torch.Generator().manual_seed(0)
    )
    return [FrameFeatures(vision=each) for each in vision]


def read_prefixes(
    small: SmallModel, reader: QueryReader, given: Sequence[Query], frames: Sequence[FrameFeatures]
) -> PrefixCache:
    return reader.reference_prefix([reading(given, frames)], prompt_of(small, given, len(frames)))


def assert_near(mine: PrefixCache, its: PrefixCache) -> None:
    assert mine.ids == its.ids
    for pair, other in zip(mine.states, its.states, strict=True):
        for states, expected in zip(pair, other, strict=True):
            torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-4)


def test_each_pair_of_a_frame_and_an_query_is_read_once(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 4)
    two = queries(RED, BLUE)
    read_tokens(reader, two, frames[:2])
    assert perceived.take() == [(2, 4)]
    read_tokens(reader, two, frames[:2])
    assert perceived.take() == []
    read_tokens(reader, two, frames[1:3])
    assert perceived.take() == [(1, 2)]
    read_tokens(reader, [*two, query(ALL)], frames[1:3])
    assert perceived.take() == [(2, 2)]
    read_tokens(reader, two[:1], frames)
    assert perceived.take() == [(1, 1)]


def test_several_new_frames_are_read_in_one_batch(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 4)
    read_tokens(reader, queries(RED, BLUE, ALL), frames)
    assert perceived.take() == [(4, 12)]


def test_frames_that_lack_as_many_queries_are_read_together_whichever_those_are(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 3)
    red, blue = queries(RED, BLUE)
    read_tokens(reader, [red], frames[:1])
    read_tokens(reader, [blue], frames[1:2])
    perceived.take()
    read_tokens(reader, [red, blue], frames)
    assert perceived.take() == [(1, 2), (2, 2)]


def test_frames_of_several_cameras_are_read_in_one_batch(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 4)
    asked, earlier = [queries(RED, BLUE), queries(ALL, RED)], [frames[:2], frames[2:]]
    tokens = reader.reference_tokens([reading(*each) for each in zip(asked, earlier, strict=True)])
    assert perceived.take() == [(4, 8)]
    alone = [
        read_tokens(reader_of(released), queries(*(each.text for each in given)), shown)[0]
        for given, shown in zip(asked, earlier, strict=True)
    ]
    torch.testing.assert_close(tokens, torch.stack(alone), atol=1e-5, rtol=1e-4)


def test_the_same_text_in_two_queries_is_read_for_each(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 1)
    first, second = read_tokens(reader, queries(RED, RED), frames)[0]
    assert perceived.take() == [(1, 2)]
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def test_reference_tokens_are_those_that_the_model_makes_of_all_at_once(
    released: SmallModel,
) -> None:
    reader, frames = reader_of(released), frames_of(released, 4)
    three = queries(RED, BLUE, ALL)
    # Bit by bit, so that some are there and others are not.
    read_tokens(reader, three[1:], frames[1:2])
    read_tokens(reader, three[:1], frames[2:])
    tokens = read_tokens(reader, three, frames)
    vision = torch.stack([frame.vision for frame in frames])[None]
    expected = released.model.perceive_frames(vision, prompt_of(released, three, 4))
    config = released.model.config
    assert tokens.shape == (1, 3, 4 * config.num_latents, config.hidden_size)
    torch.testing.assert_close(tokens, expected.flatten(2, 3), atol=1e-5, rtol=1e-4)


def test_reference_tokens_of_a_pair_do_not_hold_those_of_others(released: SmallModel) -> None:
    reader, frames = reader_of(released), frames_of(released, 2)
    given = queries(RED, BLUE)
    read_tokens(reader, given, frames)
    for frame in frames:
        for tokens in frame.perceived.values():
            assert tokens.untyped_storage().nbytes() == tokens.nbytes


def test_reference_tokens_leave_with_their_query(released: SmallModel) -> None:
    reader, frames = reader_of(released), frames_of(released, 2)
    given = queries(RED, BLUE)
    read_tokens(reader, given, frames)
    tokens = weakref.ref(frames[0].perceived[given[0]])
    del given[0]
    gc.collect()
    assert tokens() is None
    assert all(list(frame.perceived) == given for frame in frames)


def test_reference_tokens_leave_with_their_frame(released: SmallModel) -> None:
    reader, frames = reader_of(released), frames_of(released, 2)
    given = queries(RED, BLUE)
    read_tokens(reader, given, frames)
    tokens = weakref.ref(frames[0].perceived[given[0]])
    del frames[0]
    gc.collect()
    assert tokens() is None


def test_a_prefix_stays_while_the_same_frames_are_shown(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 2)
    given = queries(RED, BLUE)
    first = read_prefixes(released, reader, given, frames)
    kept = [each.prefix for each in given]
    assert None not in kept and perceived.take() == [(2, 4)]
    again = read_prefixes(released, reader, given, list(frames))
    assert (
        all(each.prefix is old for each, old in zip(given, kept, strict=True))
        and perceived.take() == []
    )
    assert_near(again, first)


@pytest.mark.parametrize('shown', [(0, 2), (1, 0), (1,), (0, 1, 2)])
def test_a_prefix_is_read_anew_for_other_frames_or_another_order(
    released: SmallModel, shown: Sequence[int]
) -> None:
    reader, frames = reader_of(released), frames_of(released, 3)
    given = queries(RED, BLUE)
    read_prefixes(released, reader, given, frames[:2])
    before = [each.prefix for each in given]
    chosen = [frames[index] for index in shown]
    prefix = read_prefixes(released, reader, given, chosen)
    for each, old in zip(given, before, strict=True):
        assert each.prefix is not None and each.prefix is not old
        assert each.prefix_frames == tuple(chosen)
    fresh = queries(RED, BLUE)
    assert_near(prefix, read_prefixes(released, reader_of(released), fresh, chosen))


def test_a_new_query_joins_without_the_others_being_read_again(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 2)
    red, blue, everything = queries(RED, BLUE, ALL)
    read_prefixes(released, reader, [red, everything], frames)
    kept = red.prefix, everything.prefix
    perceived.take()
    prefix = read_prefixes(released, reader, [red, blue, everything], frames)
    assert perceived.take() == [(2, 2)]
    assert red.prefix is kept[0] and everything.prefix is kept[1]
    whole = released.model.prefill_references(
        prompt_of(released, [red, blue, everything], 2),
        read_tokens(reader, [red, blue, everything], frames),
    )
    assert_near(prefix, whole)


def test_prefixes_of_several_cameras_are_read_in_one_batch(
    released: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, frames = reader_of(released), frames_of(released, 4)
    rows: list[int] = []
    prefill_references = released.model.prefill_references

    def noted(prompt: Prompt, reference_tokens: torch.Tensor) -> PrefixCache:
        rows.append(prompt.input_ids.shape[:2].numel())
        return prefill_references(prompt, reference_tokens)

    monkeypatch.setattr(released.model, 'prefill_references', noted)
    asked, earlier = [queries(RED, BLUE), queries(ALL, RED)], [frames[:2], frames[2:]]
    readings = [reading(*each) for each in zip(asked, earlier, strict=True)]
    prefix = reader.reference_prefix(readings, prompts_of(released, asked, 2))
    again = reader.reference_prefix(readings, prompts_of(released, asked, 2))
    assert rows == [4]
    alone = PrefixCache.join(
        [
            read_prefixes(
                released, reader_of(released), queries(*(each.text for each in given)), its
            )
            for given, its in zip(asked, earlier, strict=True)
        ]
    )
    assert_near(prefix, alone)
    assert_near(again, alone)


def test_an_query_that_two_cameras_share_has_a_prefix_of_each(released: SmallModel) -> None:
    reader, frames = reader_of(released), frames_of(released, 4)
    red = query(RED)
    readings = [reading([red], frames[:2]), reading([red], frames[2:])]
    for _ in range(2):
        prefix = reader.reference_prefix(readings, prompts_of(released, [[red], [red]], 2))
        for row, each in enumerate(readings):
            alone = reader_of(released)
            fresh = read_prefixes(released, alone, queries(RED), each.references)
            assert_near(prefix.row(row), fresh)


def test_a_prefix_leaves_with_its_query(released: SmallModel) -> None:
    reader, frames = reader_of(released), frames_of(released, 2)
    given = queries(RED, BLUE)
    read_prefixes(released, reader, given, frames)
    assert given[0].prefix is not None
    prefix = weakref.ref(given[0].prefix)
    del given[0]
    gc.collect()
    assert prefix() is None


def test_the_text_before_the_reference_frames_is_read_once_for_all_queries(
    released: SmallModel,
) -> None:
    reader = reader_of(released)
    one = prompt_of(released, queries(RED), 2)
    others = prompt_of(released, queries(BLUE, ALL), 4)
    prefix = reader.text_prefix(one)
    assert prefix is not None and prefix.ids == one.text
    assert reader.text_prefix(others) is prefix
    still = reader.text_prefix(prompt_of(released, queries(RED), 0))
    assert still is not None and still is not prefix
    assert reader.text_prefix(one) is prefix


def test_prompts_that_begin_with_the_image_leave_no_text(compact: SmallModel) -> None:
    assert reader_of(compact).text_prefix(prompt_of(compact, queries(RED), 2)) is None


def test_texts_that_were_read_are_released(released: SmallModel) -> None:
    reader = reader_of(released)
    prompt = prompt_of(released, queries(RED), 2)
    first = weakref.ref(reader.text_prefix(prompt))
    reader.clear()
    gc.collect()
    assert first() is None
    prefix = reader.text_prefix(prompt)
    assert prefix is not None and reader.text_prefix(prompt) is prefix


def test_texts_of_ever_new_kinds_of_prompts_do_not_pile_up(released: SmallModel) -> None:
    reader = reader_of(released)
    prompt = prompt_of(released, queries(RED), 2)
    prefixes = weakref.WeakSet(
        reader.text_prefix(replace(prompt, start_ids=(first, second)))
        for first in range(6)
        for second in range(6)
    )
    gc.collect()
    assert 0 < len(prefixes) < 20


def test_indices_of_equal_keys_are_grouped_in_their_order() -> None:
    assert group('abacb') == [[0, 2], [1, 4], [3]]
    assert group([]) == []


def test_items_of_equal_keys_are_one_batch_and_results_are_in_the_order_of_the_items() -> None:
    batches: list[Sequence[str]] = []

    def work(batch: Sequence[str]) -> list[str]:
        batches.append(batch)
        return [item.upper() for item in batch]

    items = ['red', 'a', 'mug', 'b', 'ball']
    assert in_batches(items, map(len, items), work) == ['RED', 'A', 'MUG', 'B', 'BALL']
    assert batches == [['red', 'mug'], ['a', 'b'], ['ball']]


def cache_of(small: SmallModel, max_length: int = 512) -> PromptCache:
    return PromptCache(small.processor, device=torch.device('cpu'), max_length=max_length)


def test_the_same_texts_and_tasks_have_the_same_prompt(released: SmallModel) -> None:
    prompts = cache_of(released)
    first = prompts([[query('the mug')], [query('all')]], 2)
    assert prompts([[query('the mug')], [query('all')]], 2) is first


def test_other_texts_tasks_frames_or_references_have_another_prompt(released: SmallModel) -> None:
    prompts = cache_of(released)
    mug, ball = query('the mug'), query('the ball')
    reasoning = Query(text='the ball', task=Task.REASONING)
    reasoning.prompt_text = 'the ball'
    asked = [
        ([[mug, ball]], 2),
        ([[mug], [ball]], 2),
        ([[ball], [mug]], 2),
        ([[mug], [ball]], 1),
        ([[mug], [reasoning]], 2),
    ]
    assert len({id(prompts(*each)) for each in asked for _ in range(2)}) == len(asked)
    assert prompts([[mug, ball]], 2).input_ids.shape[:2] == (1, 2)
    assert prompts([[mug], [ball]], 2).input_ids.shape[:2] == (2, 1)


def test_prompts_are_padded_from_the_moment_on_that_it_is_wanted(small: SmallModel) -> None:
    prompts = cache_of(small)
    given = [[query('the red mug')]]
    plain = prompts(given, 1)
    prompts.pad(8)
    padded = prompts(given, 1)
    assert padded is not plain and padded.input_ids.shape[-1] % 8 == 0


def test_a_prompt_that_is_too_long_is_refused_each_time(small: SmallModel) -> None:
    given = [[query('the red mug')], [query('all')]]
    length = cache_of(small)(given, 1).input_ids.shape[-1]
    prompts = cache_of(small, length - 1)
    for _ in range(2):
        with pytest.raises(ValueError, match=f'1 reference frames take {length} tokens'):
            prompts(given, 1)
