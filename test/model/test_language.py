from __future__ import annotations

import copy

import pytest
import torch
from small_models import released_config, scramble
from transformers import DynamicCache, PhiModel

from instructseg_ros.model.attention import IMPLEMENTATION
from instructseg_ros.model.language import LanguageModel

LAYERS, LENGTH = 3, 9


@pytest.fixture(scope='module')
def language() -> LanguageModel:
    config = released_config().text_config
    config.num_hidden_layers = LAYERS
    config._attn_implementation = IMPLEMENTATION
    torch.manual_seed(0)
    model = LanguageModel(config).eval()
    scramble(model)
    return model


@pytest.fixture
def embeddings() -> torch.Tensor:
    return torch.randn(2, LENGTH, 40, generator=torch.Generator().manual_seed(1))


def phi_of_transformers(language: LanguageModel) -> PhiModel:
    config = copy.deepcopy(language.config)
    config._attn_implementation = 'eager'
    model = PhiModel(config).eval()
    model.load_state_dict(language.state_dict())
    return model


def new_cache(language: LanguageModel) -> DynamicCache:
    return DynamicCache(config=language.config)


def near(mine: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)


def moves(
    language: LanguageModel, embeddings: torch.Tensor, *, causal: bool, read_from: int = 0
) -> list[bool]:
    """Places whose state changes with the last embedding."""
    other = embeddings.clone()
    other[:, -1] += 1
    before, after = (
        language.prefill(x, causal=causal, read_from=read_from)[-1] for x in (embeddings, other)
    )
    return (before != after).any(dim=-1).all(dim=0).tolist()


@pytest.mark.parametrize('gradients', [True, False])
def test_states_are_those_of_transformers(
    language: LanguageModel, embeddings: torch.Tensor, gradients: bool
) -> None:
    with torch.set_grad_enabled(gradients):
        mine = language.prefill(embeddings)
        theirs = phi_of_transformers(language)(inputs_embeds=embeddings, output_hidden_states=True)
    assert len(mine) == LAYERS + 1
    assert torch.equal(mine[0], embeddings)
    for my_states, their_states in zip(mine, theirs.hidden_states, strict=True):
        near(my_states, their_states)
    near(mine[-1], theirs.last_hidden_state)


@pytest.mark.parametrize('causal', [True, False])
@pytest.mark.parametrize('read_from', [1, 4, LENGTH - 1])
@torch.no_grad()
def test_states_that_are_read_are_those_of_a_full_pass(
    language: LanguageModel, embeddings: torch.Tensor, read_from: int, causal: bool
) -> None:
    full = language.prefill(embeddings, causal=causal)
    part = language.prefill(embeddings, causal=causal, read_from=read_from)
    for mine, its in zip(part[:-1], full[:-1], strict=True):
        assert torch.equal(mine, its)
    near(part[-1], full[-1][:, read_from:])


def test_states_that_are_read_have_the_gradients_of_a_full_pass(
    language: LanguageModel, embeddings: torch.Tensor
) -> None:
    embeddings.requires_grad_()
    full = language.prefill(embeddings)[-1][:, 4:]
    part = language.prefill(embeddings, read_from=4)[-1]
    mine, its = (torch.autograd.grad(x.square().sum(), embeddings)[0] for x in (part, full))
    near(mine, its)


@pytest.mark.parametrize('length', [7, 8, LENGTH])
@pytest.mark.parametrize('half', [True, False])
@torch.no_grad()
def test_a_sequence_that_is_concluded_has_the_states_of_a_prefill(
    language: LanguageModel, embeddings: torch.Tensor, half: bool, length: int
) -> None:
    model, given = language, embeddings[:, 2:length]
    if half:
        model, given = copy.deepcopy(language).to(torch.bfloat16), given.to(torch.bfloat16)
    expected = model.prefill(given, read_from=3)
    mine = model.conclude(given, read_from=3)
    for states, its in zip(mine, expected, strict=True):
        assert states.shape == its.shape
        torch.testing.assert_close(states, its, atol=0.03 if half else 1e-5, rtol=0.03)


@pytest.mark.parametrize(('cached', 'runs'), [(False, 2), (True, 1)])
def test_checkpointed_layers_run_twice_unless_they_fill_a_cache(
    language: LanguageModel, embeddings: torch.Tensor, cached: bool, runs: int
) -> None:
    model = copy.deepcopy(language).train()
    model.gradient_checkpointing_enable({'use_reentrant': False})
    calls: list[object] = []
    model.layers[0].input_layernorm.register_forward_hook(lambda *_: calls.append(1))
    cache = new_cache(model) if cached else None
    model.prefill(embeddings, cache, read_from=4)[-1].sum().backward()
    assert len(calls) == runs


@pytest.mark.parametrize('prefix', [1, 5, LENGTH - 1])
@torch.no_grad()
def test_a_sequence_in_two_parts_is_a_sequence_at_once(
    language: LanguageModel, embeddings: torch.Tensor, prefix: int
) -> None:
    cache = new_cache(language)
    head = language.prefill(embeddings[:, :prefix], cache)
    assert cache.get_seq_length() == prefix
    tail = language.prefill(embeddings[:, prefix:], cache)
    for first, second, whole in zip(head, tail, language.prefill(embeddings), strict=True):
        near(torch.cat([first, second], dim=1), whole)


@torch.no_grad()
def test_a_part_that_is_read_late_continues_its_prefix(
    language: LanguageModel, embeddings: torch.Tensor
) -> None:
    cache = new_cache(language)
    # Neither part is read from its start: what comes later sees all of both in every layer.
    language.prefill(embeddings[:, :3], cache, read_from=2)
    middle = language.prefill(embeddings[:, 3:7], cache, read_from=1)
    last = language.prefill(embeddings[:, 7:], cache)
    assert [cache.get_seq_length(layer) for layer in range(LAYERS)] == [LENGTH] * LAYERS
    whole = language.prefill(embeddings)
    near(torch.cat([middle[-1], last[-1]], dim=1), whole[-1][:, 4:])
    near(middle[-2], whole[-2][:, 3:7])


@torch.no_grad()
def test_one_prefix_serves_several_sequences(
    language: LanguageModel, embeddings: torch.Tensor
) -> None:
    cache = new_cache(language)
    language.prefill(embeddings[:1, :4], cache)
    cache.batch_repeat_interleave(2)
    rows = language.prefill(embeddings[:, 4:], cache, read_from=2)[-1]
    prefix = embeddings[:1, :4].expand(2, -1, -1)
    near(rows, language.prefill(torch.cat([prefix, embeddings[:, 4:]], dim=1))[-1][:, 6:])


@torch.no_grad()
def test_a_place_sees_later_ones_only_where_the_prefill_is_not_causal(
    language: LanguageModel, embeddings: torch.Tensor
) -> None:
    assert moves(language, embeddings, causal=True) == [False] * (LENGTH - 1) + [True]
    assert moves(language, embeddings, causal=False) == [True] * LENGTH
    assert moves(language, embeddings, causal=True, read_from=4) == [False] * (LENGTH - 5) + [True]
    assert moves(language, embeddings, causal=False, read_from=4) == [True] * (LENGTH - 4)


@torch.no_grad()
def test_a_causal_part_follows_a_prefix_that_is_not(
    language: LanguageModel, embeddings: torch.Tensor
) -> None:
    cache = new_cache(language)
    head = language.prefill(embeddings[:, :5], cache, causal=False)[-1]
    tail = language.prefill(embeddings[:, 5:], cache, read_from=1)[-1]
    place = torch.arange(LENGTH)
    visible = (place <= place[:, None]) | (place < 5)
    mask = torch.zeros(2, 1, LENGTH, LENGTH).masked_fill(~visible, torch.finfo().min)
    theirs = phi_of_transformers(language)(inputs_embeds=embeddings, attention_mask=mask)
    near(head, theirs.last_hidden_state[:, :5])
    near(tail, theirs.last_hidden_state[:, 6:])
