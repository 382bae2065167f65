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
from instructseg_ros.model.reuse import Expression, FrameTokens, Reading, ReferenceReader
from instructseg_ros.model.states import Lead, Prompt
from instructseg_ros.model.tasks import Task

# Of both tasks and three lengths.
RED, BLUE, ALL = 'the red mug', 'where is the left ball of all', 'mug'
REASONING = (BLUE,)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


class Perceived:
    """Frames, and pairs of a frame and an expression, of each run of the perceiver."""

    def __init__(self, model: InstructSegModel) -> None:
        self._runs: list[tuple[int, int]] = []
        self.hook = model.perceiver.register_forward_hook(self._note)

    def _note(self, _: object, inputs: tuple[Any, ...], __: object) -> None:
        frames, words = inputs[:2]
        self._runs.append((len(frames), len(words)))

    def take(self) -> list[tuple[int, int]]:
        """What was run since the last time, smallest first."""
        runs, self._runs = sorted(self._runs), []
        return runs


@pytest.fixture
def perceived(released: SmallModel) -> Iterator[Perceived]:
    watch = Perceived(released.model)
    yield watch
    watch.hook.remove()


def prompt_of(small: SmallModel, expressions: Sequence[Expression], references: int) -> Prompt:
    """On one frame."""
    return prompts_of(small, [expressions], references)


def prompts_of(
    small: SmallModel, expressions: Sequence[Sequence[Expression]], references: int
) -> Prompt:
    return small.processor.prompt(
        [[each.text for each in frame] for frame in expressions],
        task=[[each.task for each in frame] for frame in expressions],
        reference_frames=references,
    )


def reader_of(small: SmallModel) -> ReferenceReader:
    return ReferenceReader(small.model, lambda given, count: prompts_of(small, given, count))


def reading(given: Sequence[Expression], frames: Sequence[FrameTokens]) -> Reading:
    """Of expressions with some frames as references; the frame itself is not read here."""
    return Reading(expressions=given, tokens=frames[0], references=tuple(frames))


def read_tokens(
    reader: ReferenceReader, given: Sequence[Expression], frames: Sequence[FrameTokens]
) -> torch.Tensor:
    """On one frame."""
    return reader.tokens([reading(given, frames)])


def expression(text: str) -> Expression:
    task = Task.REASONING if text in REASONING else Task.REFERRING
    return Expression(text=text, task=task, known=True, unknown=())


def expressions(*texts: str) -> list[Expression]:
    return [expression(text) for text in texts]


def frames_of(small: SmallModel, count: int) -> list[FrameTokens]:
    config = small.model.config
    vision = torch.randn(
        count, config.image_tokens, config.hidden_size, generator=torch.Generator().manual_seed(0)
    )
    return [FrameTokens(vision=each) for each in vision]


def read_leads(
    small: SmallModel,
    reader: ReferenceReader,
    given: Sequence[Expression],
    frames: Sequence[FrameTokens],
) -> Lead:
    return reader.lead([reading(given, frames)], prompt_of(small, given, len(frames)))


def assert_near(mine: Lead, its: Lead) -> None:
    assert mine.ids == its.ids
    for pair, other in zip(mine.states, its.states, strict=True):
        for states, expected in zip(pair, other, strict=True):
            torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-4)


def test_each_pair_of_a_frame_and_an_expression_is_read_once(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 4)
    two = expressions(RED, BLUE)
    read_tokens(reader, two, frames[:2])
    assert perceived.take() == [(2, 4)]
    read_tokens(reader, two, frames[:2])
    assert perceived.take() == []
    read_tokens(reader, two, frames[1:3])
    assert perceived.take() == [(1, 2)]
    read_tokens(reader, [*two, expression(ALL)], frames[1:3])
    assert perceived.take() == [(2, 2)]
    read_tokens(reader, two[:1], frames)
    assert perceived.take() == [(1, 1)]


def test_several_new_frames_are_read_in_one_batch(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 4)
    read_tokens(reader, expressions(RED, BLUE, ALL), frames)
    assert perceived.take() == [(4, 12)]


def test_frames_that_lack_as_many_expressions_are_read_together_whichever_those_are(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 3)
    red, blue = expressions(RED, BLUE)
    read_tokens(reader, [red], frames[:1])
    read_tokens(reader, [blue], frames[1:2])
    perceived.take()
    read_tokens(reader, [red, blue], frames)
    assert perceived.take() == [(1, 2), (2, 2)]


def test_frames_of_several_cameras_are_read_in_one_batch(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 4)
    asked, earlier = [expressions(RED, BLUE), expressions(ALL, RED)], [frames[:2], frames[2:]]
    tokens = reader.tokens([reading(*each) for each in zip(asked, earlier, strict=True)])
    assert perceived.take() == [(4, 8)]
    alone = [
        read_tokens(reader_of(released), expressions(*(each.text for each in given)), shown)[0]
        for given, shown in zip(asked, earlier, strict=True)
    ]
    torch.testing.assert_close(tokens, torch.stack(alone), atol=1e-5, rtol=1e-4)


def test_the_same_text_in_two_expressions_is_read_for_each(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 1)
    first, second = read_tokens(reader, expressions(RED, RED), frames)[0]
    assert perceived.take() == [(1, 2)]
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def test_reference_tokens_are_those_that_the_model_makes_of_all_at_once(
    released: SmallModel,
) -> None:
    reader, frames = reader_of(released), frames_of(released, 4)
    three = expressions(RED, BLUE, ALL)
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
    given = expressions(RED, BLUE)
    read_tokens(reader, given, frames)
    for frame in frames:
        for tokens in frame.perceived.values():
            assert tokens.untyped_storage().nbytes() == tokens.nbytes


def test_reference_tokens_leave_with_their_expression(released: SmallModel) -> None:
    reader, frames = reader_of(released), frames_of(released, 2)
    given = expressions(RED, BLUE)
    read_tokens(reader, given, frames)
    tokens = weakref.ref(frames[0].perceived[given[0]])
    del given[0]
    gc.collect()
    assert tokens() is None
    assert all(list(frame.perceived) == given for frame in frames)


def test_reference_tokens_leave_with_their_frame(released: SmallModel) -> None:
    reader, frames = reader_of(released), frames_of(released, 2)
    given = expressions(RED, BLUE)
    read_tokens(reader, given, frames)
    tokens = weakref.ref(frames[0].perceived[given[0]])
    del frames[0]
    gc.collect()
    assert tokens() is None


def test_a_lead_stays_while_the_same_frames_are_shown(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 2)
    given = expressions(RED, BLUE)
    first = read_leads(released, reader, given, frames)
    kept = [each.lead for each in given]
    assert all(kept) and perceived.take() == [(2, 4)]
    again = read_leads(released, reader, given, list(frames))
    assert [each.lead for each in given] == kept and perceived.take() == []
    assert_near(again, first)


@pytest.mark.parametrize('shown', [(0, 2), (1, 0), (1,), (0, 1, 2)])
def test_a_lead_is_read_anew_for_other_frames_or_another_order(
    released: SmallModel, shown: Sequence[int]
) -> None:
    reader, frames = reader_of(released), frames_of(released, 3)
    given = expressions(RED, BLUE)
    read_leads(released, reader, given, frames[:2])
    before = [each.lead for each in given]
    chosen = [frames[index] for index in shown]
    lead = read_leads(released, reader, given, chosen)
    for each, old in zip(given, before, strict=True):
        assert each.lead is not None and each.lead is not old
        assert each.lead.frames == tuple(chosen)
    fresh = expressions(RED, BLUE)
    assert_near(lead, read_leads(released, reader_of(released), fresh, chosen))


def test_a_new_expression_joins_without_the_others_being_read_again(
    released: SmallModel, perceived: Perceived
) -> None:
    reader, frames = reader_of(released), frames_of(released, 2)
    red, blue, everything = expressions(RED, BLUE, ALL)
    read_leads(released, reader, [red, everything], frames)
    kept = red.lead, everything.lead
    perceived.take()
    lead = read_leads(released, reader, [red, blue, everything], frames)
    assert perceived.take() == [(2, 2)]
    assert (red.lead, everything.lead) == kept
    whole = released.model.read_lead(
        prompt_of(released, [red, blue, everything], 2),
        read_tokens(reader, [red, blue, everything], frames),
    )
    assert_near(lead, whole)


def test_leads_of_several_cameras_are_read_in_one_batch(
    released: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, frames = reader_of(released), frames_of(released, 4)
    rows: list[int] = []
    read_lead = released.model.read_lead

    def noted(prompt: Prompt, reference_tokens: torch.Tensor) -> Lead:
        rows.append(prompt.input_ids.shape[:2].numel())
        return read_lead(prompt, reference_tokens)

    monkeypatch.setattr(released.model, 'read_lead', noted)
    asked, earlier = [expressions(RED, BLUE), expressions(ALL, RED)], [frames[:2], frames[2:]]
    readings = [reading(*each) for each in zip(asked, earlier, strict=True)]
    lead = reader.lead(readings, prompts_of(released, asked, 2))
    again = reader.lead(readings, prompts_of(released, asked, 2))
    assert rows == [4]
    alone = Lead.join(
        [
            read_leads(
                released, reader_of(released), expressions(*(each.text for each in given)), its
            )
            for given, its in zip(asked, earlier, strict=True)
        ]
    )
    assert_near(lead, alone)
    assert_near(again, alone)


def test_an_expression_that_two_cameras_share_has_a_lead_of_each(released: SmallModel) -> None:
    reader, frames = reader_of(released), frames_of(released, 4)
    red = expression(RED)
    readings = [reading([red], frames[:2]), reading([red], frames[2:])]
    for _ in range(2):
        lead = reader.lead(readings, prompts_of(released, [[red], [red]], 2))
        for row, each in enumerate(readings):
            alone = reader_of(released)
            fresh = read_leads(released, alone, expressions(RED), each.references)
            assert_near(lead.row(row), fresh)


def test_a_lead_leaves_with_its_expression(released: SmallModel) -> None:
    reader, frames = reader_of(released), frames_of(released, 2)
    given = expressions(RED, BLUE)
    read_leads(released, reader, given, frames)
    assert given[0].lead is not None
    lead = weakref.ref(given[0].lead)
    del given[0]
    gc.collect()
    assert lead() is None


def test_the_text_before_the_reference_frames_is_read_once_for_all_expressions(
    released: SmallModel,
) -> None:
    reader = reader_of(released)
    one = prompt_of(released, expressions(RED), 2)
    others = prompt_of(released, expressions(BLUE, ALL), 4)
    lead = reader.text_lead(one)
    assert lead is not None and lead.ids == one.text
    assert reader.text_lead(others) is lead
    still = reader.text_lead(prompt_of(released, expressions(RED), 0))
    assert still is not None and still is not lead
    assert reader.text_lead(one) is lead


def test_prompts_that_begin_with_the_image_leave_no_text(compact: SmallModel) -> None:
    assert reader_of(compact).text_lead(prompt_of(compact, expressions(RED), 2)) is None


def test_texts_that_were_read_are_let_go_of(released: SmallModel) -> None:
    reader = reader_of(released)
    prompt = prompt_of(released, expressions(RED), 2)
    first = weakref.ref(reader.text_lead(prompt))
    reader.clear()
    gc.collect()
    assert first() is None
    lead = reader.text_lead(prompt)
    assert lead is not None and reader.text_lead(prompt) is lead


def test_texts_of_ever_new_kinds_of_prompts_do_not_pile_up(released: SmallModel) -> None:
    reader = reader_of(released)
    prompt = prompt_of(released, expressions(RED), 2)
    leads = weakref.WeakSet(
        reader.text_lead(replace(prompt, lead=(first, second)))
        for first in range(6)
        for second in range(6)
    )
    gc.collect()
    assert 0 < len(leads) < 20
