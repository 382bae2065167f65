from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import VOCABULARY, SmallModel

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.mask_decoder import MaskPredictions
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.stage_outputs import (
    InstructSegOutput,
    PrefixCache,
    Prompt,
    Reasoning,
    VisualContext,
)
from instructseg_ros.model.tasks import IMAGE_ID, SEG_ID, TEMPORAL_ID

INSTRUCTIONS = ('the red mug', 'where is the left ball of all?', 'mug')
Predictions = Sequence[MaskPredictions]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def assert_same(first: Predictions, second: Predictions) -> None:
    assert len(first) == len(second)
    for mine, its in zip(first, second, strict=True):
        torch.testing.assert_close(mine.mask_logits, its.mask_logits, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(mine.score_logits, its.score_logits, rtol=1e-3, atol=1e-3)


def differ(first: InstructSegOutput, second: InstructSegOutput) -> bool:
    """Whether two outputs differ by more than rounding."""
    return not torch.allclose(
        first.final.score_logits, second.final.score_logits, rtol=1e-2, atol=1e-2
    )


def part_of(predictions: Predictions, frame: int, instruction: int) -> list[MaskPredictions]:
    one = (slice(frame, frame + 1), slice(instruction, instruction + 1))
    return [
        MaskPredictions(mask_logits=p.mask_logits[one], score_logits=p.score_logits[one])
        for p in predictions
    ]


def context_of(small: SmallModel, prompt: Prompt, references: int = 0) -> VisualContext:
    pictures = small.inputs(frames=len(prompt.input_ids), references=references)
    model = small.model
    tokens = model.encode_frame(pictures['vision_values'])
    earlier = None
    if references:
        earlier = torch.stack([model.encode_frame(x) for x in pictures['reference_values']])
    return model.perceive(tokens, earlier, prompt)


@pytest.mark.parametrize('references', [0, 1, 2])
def test_forward_is_the_five_stages_in_a_row(small: SmallModel, references: int) -> None:
    prompt = small.prompt(*INSTRUCTIONS, frames=2, references=references)
    pictures = small.inputs(frames=2, references=references)
    context = context_of(small, prompt, references)
    features = small.model.encode_pixels(pictures['pixel_values'])
    by_stages = small.model.decode(small.model.reason(context, prompt), features)
    assert_same(by_stages.predictions, small.model(prompt=prompt, **pictures).predictions)


@pytest.mark.parametrize('references', [0, 2])
def test_instructions_in_one_batch_are_answered_as_each_alone(
    small: SmallModel, references: int
) -> None:
    pictures = small.inputs(frames=2, references=references)
    prompt = small.prompt(*INSTRUCTIONS, frames=2, references=references)
    together = small.model(prompt=prompt, **pictures).predictions
    for frame in range(2):
        mine = {name: values[frame : frame + 1] for name, values in pictures.items()}
        for number, instruction in enumerate(INSTRUCTIONS):
            alone = small.model(prompt=small.prompt(instruction, references=references), **mine)
            assert_same(part_of(together, frame, number), alone.predictions)


def test_frames_of_one_batch_may_have_different_instructions(small: SmallModel) -> None:
    pictures = small.inputs(frames=2)
    prompt = small.processor.prompt([INSTRUCTIONS[:2], INSTRUCTIONS[1:]])
    together = small.model(prompt=prompt, **pictures).predictions
    second = {name: values[1:] for name, values in pictures.items()}
    alone = small.model(prompt=small.prompt(INSTRUCTIONS[2]), **second)
    assert_same(part_of(together, 1, 1), alone.predictions)


def test_tokens_of_the_padding_have_no_influence(small: SmallModel) -> None:
    prompt = small.prompt(*INSTRUCTIONS)
    pictures = small.inputs()
    ids = prompt.input_ids.clone()
    after = (ids == SEG_ID).flip(-1).cumsum(dim=-1).flip(-1) == 0
    assert after[0, [0, 2]].any(dim=-1).all() and not after[0, 1].any()
    ids[after] = VOCABULARY - 1
    disturbed = small.model(prompt=replace(prompt, input_ids=ids), **pictures)
    assert_same(disturbed.predictions, small.model(prompt=prompt, **pictures).predictions)


def whole_sequence(small: SmallModel, prompt: Prompt, references: int) -> Reasoning:
    """One instruction on one frame by hand: assembled piece by piece, read without a cache."""
    model = small.model
    context = context_of(small, prompt, references)
    ids = prompt.input_ids[0, 0]
    states = model.language_model.embed_tokens(ids.clamp(min=0))
    states[ids == SEG_ID] = model.seg_query
    states[ids == IMAGE_ID] = context.image_tokens[0]
    if context.reference_tokens is not None:
        states[ids == TEMPORAL_ID] = context.reference_tokens[0, 0]
    index = torch.arange(len(ids))
    visible = index[:, None] >= index
    if model.config.bidirectional_image:
        image = ids == IMAGE_ID
        visible |= image[:, None] & image
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
    out = model.language_model(inputs_embeds=states[None], attention_mask=mask[None, None])
    last = out.last_hidden_state[0]
    return Reasoning(
        mask_tokens=last[ids == SEG_ID],
        pooled=last[prompt.refer_mask[0, 0]].mean(dim=0),
        cells=last[ids == IMAGE_ID],
    )


@pytest.mark.parametrize('references', [0, 2])
def test_reasoning_reads_the_whole_sequence_in_one_go(small: SmallModel, references: int) -> None:
    prompt = small.prompt(INSTRUCTIONS[1], references=references)
    reasoning = small.model.reason(context_of(small, prompt, references), prompt)
    expected = whole_sequence(small, prompt, references)
    torch.testing.assert_close(reasoning.mask_tokens[0, 0], expected.mask_tokens, atol=1e-4, rtol=0)
    torch.testing.assert_close(reasoning.pooled[0, 0], expected.pooled, atol=1e-4, rtol=0)
    if reasoning.cells is not None:
        torch.testing.assert_close(reasoning.cells[0], expected.cells, atol=1e-4, rtol=0)


@torch.enable_grad()
def test_gradients_are_the_same_where_activations_are_computed_twice(small: SmallModel) -> None:
    model = copy.deepcopy(small.model)
    model.language_model.train()
    prompt = small.prompt(*INSTRUCTIONS, frames=2)
    context = context_of(small, prompt)

    def gradients() -> tuple[torch.Tensor, ...]:
        tokens = model.reason(context, prompt).mask_tokens
        return torch.autograd.grad(tokens.sum(), list(model.language_model.layers.parameters()))

    once = gradients()
    model.gradient_checkpointing_enable({'use_reentrant': False})
    torch.testing.assert_close(gradients(), once, atol=1e-4, rtol=1e-4)


def test_states_of_every_layer_end_with_the_final_ones(compact: SmallModel) -> None:
    prompt = compact.prompt(*INSTRUCTIONS)
    context = context_of(compact, prompt)
    reasoning = compact.model.reason(context, prompt, output_layers=True)
    plain = compact.model.reason(context, prompt)
    assert plain.layers == ()
    assert len(reasoning.layers) == compact.model.config.text_config.num_hidden_layers + 1
    cells, states = reasoning.layers[-1]
    places = prompt.input_ids[:, :, prompt.prefix_length :] == SEG_ID
    assert torch.allclose(cells, plain.cells, atol=1e-5)
    assert torch.allclose(states[places].view_as(plain.mask_tokens), plain.mask_tokens, atol=1e-5)


def test_image_cells_are_read_only_from_a_shared_prefix(
    compact: SmallModel, released: SmallModel
) -> None:
    prompt = released.prompt('mug')
    assert released.model.reason(context_of(released, prompt), prompt).cells is None
    prompt = compact.prompt('mug')
    cells = compact.model.reason(context_of(compact, prompt), prompt).cells
    assert cells.shape == (1, compact.model.config.image_tokens, compact.model.config.hidden_size)


def test_image_tokens_see_later_ones_only_if_the_configuration_enables_it(
    compact: SmallModel,
) -> None:
    prompt = compact.prompt('mug')
    context = context_of(compact, prompt)
    changed = context.image_tokens.clone()
    changed[:, -1] *= -1
    after = replace(context, image_tokens=changed)

    def first_cell_changes() -> bool:
        before = compact.model.reason(context, prompt).cells[:, 0]
        return not torch.allclose(before, compact.model.reason(after, prompt).cells[:, 0])

    assert first_cell_changes()
    compact.model.config.bidirectional_image = False
    try:
        assert not first_cell_changes()
    finally:
        compact.model.config.bidirectional_image = True


def test_the_instruction_changes_the_answer(small: SmallModel) -> None:
    pictures = small.inputs()
    red = small.model(prompt=small.prompt('the red mug'), **pictures)
    assert differ(red, small.model(prompt=small.prompt('the blue mug'), **pictures))


def test_reference_frames_change_the_answer(small: SmallModel) -> None:
    pictures = small.inputs(references=2)
    prompt = small.prompt('the red mug', references=2)
    moved = {**pictures, 'reference_values': -pictures['reference_values']}
    assert differ(small.model(prompt=prompt, **pictures), small.model(prompt=prompt, **moved))


def test_the_order_of_reference_frames_changes_the_answer(small: SmallModel) -> None:
    pictures = small.inputs(references=2)
    prompt = small.prompt('the red mug', references=2)
    reverse = {**pictures, 'reference_values': pictures['reference_values'].flip(1)}
    first = small.model(prompt=prompt, **pictures).final.score_logits
    assert not torch.allclose(
        first, small.model(prompt=prompt, **reverse).final.score_logits, rtol=1e-4, atol=1e-4
    )


def test_a_single_reference_frame_stands_in_for_older_ones(compact: SmallModel) -> None:
    prompt = compact.prompt('the red mug', references=2)
    pictures = compact.inputs(frames=2)['vision_values']
    key, earlier = compact.model.encode_frame(pictures).split(1)
    alone = compact.model.perceive(key, earlier[None], prompt)
    repeated = compact.model.perceive(key, earlier[None].expand(-1, 2, -1, -1), prompt)
    assert torch.equal(alone.image_tokens, repeated.image_tokens)


def test_of_more_reference_frames_than_it_reads_a_model_takes_the_newest(
    compact: SmallModel,
) -> None:
    prompt = compact.prompt('the red mug', references=4)
    frames = compact.model.encode_frame(compact.inputs(frames=5)['vision_values'])
    given = compact.model.perceive(frames[:1], frames[None, 1:], prompt)
    newest = compact.model.perceive(frames[:1], frames[None, 3:], prompt)
    assert torch.equal(given.image_tokens, newest.image_tokens)


@pytest.mark.parametrize('references', [1, 2, 3, 4])
def test_the_released_layout_takes_as_many_reference_frames_as_there_are(
    released: SmallModel, references: int
) -> None:
    prompt = released.prompt(*INSTRUCTIONS, references=references)
    context = context_of(released, prompt, references)
    count = released.model.config.num_latents * references
    assert context.reference_tokens.shape == (1, 3, count, released.model.config.hidden_size)
    reasoning = released.model.reason(context, prompt)
    assert reasoning.mask_tokens.isfinite().all()


def test_reference_tokens_are_those_of_each_frame_in_order(released: SmallModel) -> None:
    latents = released.model.config.num_latents
    frames = released.model.encode_frame(released.inputs(frames=3)['vision_values'])
    both = released.prompt(*INSTRUCTIONS, references=2)
    one = released.prompt(*INSTRUCTIONS, references=1)
    together = released.model.perceive(frames[:1], frames[None, 1:], both).reference_tokens
    for number in range(2):
        alone = released.model.perceive(frames[:1], frames[None, 1 + number, None], one)
        mine = together[:, :, number * latents : (number + 1) * latents]
        torch.testing.assert_close(mine, alone.reference_tokens, atol=1e-5, rtol=1e-4)


def test_in_a_still_image_the_key_frame_is_its_own_reference(small: SmallModel) -> None:
    tokens = small.model.encode_frame(small.inputs()['vision_values'])
    prompt = small.prompt('the red mug')
    without = small.model.perceive(tokens, None, prompt)
    own = small.model.perceive(tokens, tokens[:, None], prompt)
    assert torch.equal(without.image_tokens, own.image_tokens)
    if without.reference_tokens is not None:
        assert torch.equal(without.reference_tokens, own.reference_tokens)


def test_vision_tokens_of_a_frame_do_not_depend_on_its_batch(small: SmallModel) -> None:
    pictures = small.inputs(frames=2)['vision_values']
    tokens = small.model.encode_frame(pictures)
    config = small.model.config
    assert tokens.shape == (2, config.image_tokens, config.hidden_size)
    torch.testing.assert_close(
        tokens[1:], small.model.encode_frame(pictures[1:]), atol=1e-5, rtol=1e-4
    )


def test_an_answer_has_a_mask_and_a_score_for_every_mask_token(small: SmallModel) -> None:
    output = small.model(prompt=small.prompt(*INSTRUCTIONS, frames=2), **small.inputs(frames=2))
    masks = small.model.config.mask_config
    assert len(output.predictions) == masks.decoder_layers
    height, width = small.processor.config.mask_size
    stride = 4 // masks.mask_upsampling
    shape = (2, 3, masks.num_queries)
    assert output.final.score_logits.shape == shape
    assert output.final.mask_logits.shape == (*shape, height // stride, width // stride)
    for prediction in output.predictions[:-1]:
        assert prediction.mask_logits.shape == (*shape, height // 4, width // 4)


def test_only_a_model_with_a_pointer_points(compact: SmallModel, released: SmallModel) -> None:
    output = compact.model(prompt=compact.prompt('mug'), **compact.inputs())
    config = compact.model.config
    assert output.pointer_logits.shape == (1, 1, config.num_queries, config.image_tokens)
    output = released.model(prompt=released.prompt('mug'), **released.inputs())
    assert output.pointer_logits is None
    assert not any('pointer' in name for name, _ in released.model.named_parameters())


def test_a_saved_model_gives_bit_identical_answers(small: SmallModel, tmp_path: Path) -> None:
    small.model.save_pretrained(tmp_path)
    again = InstructSegModel.from_pretrained(tmp_path, local_files_only=True).eval()
    prompt = small.prompt(*INSTRUCTIONS, references=2)
    pictures = small.inputs(references=2)
    mine = small.model(prompt=prompt, **pictures).predictions
    its = again(prompt=prompt, **pictures).predictions
    for first, second in zip(mine, its, strict=True):
        assert torch.equal(first.mask_logits, second.mask_logits)
        assert torch.equal(first.score_logits, second.score_logits)


def count(*modules: torch.nn.Module | torch.nn.Parameter) -> int:
    return sum(
        module.numel()
        if isinstance(module, torch.nn.Parameter)
        else sum(parameter.numel() for parameter in module.parameters())
        for module in modules
    )


def test_the_default_configuration_has_the_released_models_size() -> None:
    with torch.device('meta'):
        model = InstructSegModel(InstructSegConfig())
    assert count(model.vision_tower) == 1_518_336 + 396_227_104
    assert count(model.projector) == 9_507_840
    # The embedding has 50,296 rows: [SEG] was added to it.
    assert count(model.language_model) == 50_296 * 2560 + 2_517_483_520 + 5_120
    assert count(model.pixel_branch.backbone) == 86_880_376
    assert count(model.seg_query) == 256_000
    assert count(model.perceiver) == 327_680 + 110_151_680
    assert count(model.text_fusion) == sum((25_186_304, 1_049_600, 2_622_464, 2_622_464, 524_544))
    assert count(model.seg_query_projector) == 655_616
    assert count(model.pixel_branch.decoder) == 5_544_896
    assert count(model.mask_decoder) == 14_616_064 - 51_456


@pytest.mark.parametrize('references', [0, 2])
def test_text_that_was_read_before_changes_nothing(released: SmallModel, references: int) -> None:
    prompt = released.prompt(*INSTRUCTIONS, frames=2, references=references)
    context = released.model.perceive(
        *(
            torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
            for shape in (
                (released.model.config.image_tokens, released.model.config.hidden_size),
                (
                    max(1, references),
                    released.model.config.image_tokens,
                    released.model.config.hidden_size,
                ),
            )
        ),
        prompt,
    )
    assert len(prompt.text) > 10
    prefix = released.model.prefill_text(prompt)
    for _ in range(2):  # the prefix is kept as it is
        kept = released.model.reason(context, prompt, prefix_cache=prefix)
        whole = released.model.reason(context, prompt)
        torch.testing.assert_close(kept.mask_tokens, whole.mask_tokens, atol=1e-5, rtol=0)
        torch.testing.assert_close(kept.pooled, whole.pooled, atol=1e-5, rtol=0)


def test_only_the_text_before_any_place_and_any_difference_is_common(
    compact: SmallModel, released: SmallModel
) -> None:
    assert compact.prompt(*INSTRUCTIONS).text == ()
    for references in (0, 2):
        prompt = released.prompt(*INSTRUCTIONS, references=references)
        count = len(prompt.text)
        assert (prompt.input_ids[0, :, :count] == torch.tensor(prompt.text)).all()
        assert (prompt.input_ids[0, :, count] == TEMPORAL_ID).all()


def prefix_and_context(
    small: SmallModel, prompt: Prompt, references: int
) -> tuple[PrefixCache, VisualContext]:
    """The prefix cache of the reference frames, and the context without them."""
    context = context_of(small, prompt, references)
    prefix = small.model.prefill_references(prompt, context.reference_tokens)
    return prefix, replace(context, reference_tokens=None)


def assert_same_reasoning(first: Reasoning, second: Reasoning) -> None:
    torch.testing.assert_close(first.mask_tokens, second.mask_tokens, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(first.pooled, second.pooled, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('instructions', [INSTRUCTIONS[:1], INSTRUCTIONS])
@pytest.mark.parametrize('references', [1, 3])
def test_reference_frames_that_were_read_before_change_nothing(
    released: SmallModel, references: int, instructions: tuple[str, ...]
) -> None:
    prompt = released.prompt(*instructions, references=references)
    whole = released.model.reason(context_of(released, prompt, references), prompt)
    prefix, context = prefix_and_context(released, prompt, references)
    assert prefix.ids == prompt.start_ids
    assert prefix.states[0][0].shape[0] == len(instructions)
    assert prefix.states[0][0].shape[2] == len(prefix.ids)
    for _ in range(2):  # the prefix is kept as it is
        assert_same_reasoning(released.model.reason(context, prompt, prefix_cache=prefix), whole)


def test_a_prefix_falls_into_one_for_each_instruction_and_back_together(
    released: SmallModel,
) -> None:
    prompt = released.prompt(*INSTRUCTIONS, references=2)
    prefix, context = prefix_and_context(released, prompt, 2)
    rows = [prefix.row(index) for index in range(3)]
    for index, row in enumerate(rows):
        assert row.ids == prefix.ids
        for (keys, values), (all_keys, all_values) in zip(row.states, prefix.states, strict=True):
            assert torch.equal(keys, all_keys[index : index + 1])
            assert torch.equal(values, all_values[index : index + 1])
    joined = PrefixCache.join(rows)
    assert joined.ids == prefix.ids
    for pair, expected in zip(joined.states, prefix.states, strict=True):
        assert torch.equal(pair[0], expected[0]) and torch.equal(pair[1], expected[1])
    # In another order, for prompts in that order.
    order = [2, 0, 1]
    turned = released.prompt(*(INSTRUCTIONS[index] for index in order), references=2)
    reasoning = released.model.reason(
        context, turned, prefix_cache=PrefixCache.join([rows[index] for index in order])
    )
    whole = released.model.reason(context_of(released, prompt, 2), prompt)
    torch.testing.assert_close(
        reasoning.mask_tokens, whole.mask_tokens[:, order], atol=1e-5, rtol=1e-4
    )


def test_a_prefix_of_one_instruction_is_read_as_in_a_batch(released: SmallModel) -> None:
    prompt = released.prompt(*INSTRUCTIONS, references=2)
    together, _ = prefix_and_context(released, prompt, 2)
    for index, instruction in enumerate(INSTRUCTIONS):
        alone, _ = prefix_and_context(released, released.prompt(instruction, references=2), 2)
        for pair, expected in zip(alone.states, together.row(index).states, strict=True):
            torch.testing.assert_close(pair[0], expected[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(pair[1], expected[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('asked', [0, 1, 3])
def test_a_prefix_of_another_prompt_is_refused(released: SmallModel, asked: int) -> None:
    prefix, _ = prefix_and_context(released, released.prompt('mug', references=2), 2)
    prompt = released.prompt('mug', references=asked)
    context = context_of(released, prompt, asked)
    if asked == 3:  # which begins with as many reference tokens, and more
        prompt = replace(prompt, start_ids=prompt.start_ids[::-1])
    with pytest.raises(ValueError, match='not the beginning of these prompts'):
        released.model.reason(context, prompt, prefix_cache=prefix)
