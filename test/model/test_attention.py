from __future__ import annotations

import pytest
import torch
from small_models import released_config, scramble
from transformers import DynamicCache, PhiModel

from instructseg_ros.model.attention import IMPLEMENTATION, attend, merge_heads, split_heads


def operands(rows: int = 4, columns: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 3, rows, 5, generator=generator)
    key = torch.randn(2, 3, columns, 5, generator=generator)
    return query, key, torch.randn(2, 3, columns, 5, generator=generator)


def exact(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Attention as it is defined, in float64."""
    scores = query.double() @ key.double().transpose(2, 3) / query.shape[-1] ** 0.5
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape).masked_fill(~mask, -float('inf'))
    return ((scores + mask).softmax(dim=-1) @ value.double()).float()


def lower_right(rows: int, columns: int) -> torch.Tensor:
    """(rows, columns) bool: the queries are the last places, and read up to their own."""
    own = torch.arange(columns - rows, columns)
    return torch.arange(columns) <= own[:, None]


def near(mine: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-4)


def near_in_bfloat16(mine: torch.Tensor, expected: torch.Tensor) -> None:
    assert mine.dtype == torch.bfloat16
    torch.testing.assert_close(mine.float(), expected, atol=0.03, rtol=0.03)


def phi() -> PhiModel:
    torch.manual_seed(0)
    model = PhiModel(released_config().text_config).eval()
    scramble(model)
    return model


def test_heads_are_split_and_merged_without_loss() -> None:
    x = torch.randn(2, 4, 15, generator=torch.Generator().manual_seed(0))
    heads = split_heads(x, 3)
    assert heads.shape == (2, 3, 4, 5)
    assert torch.equal(heads[:, 1], x[..., 5:10])
    assert torch.equal(merge_heads(heads), x)


def test_attention_with_and_without_gradients_is_the_same() -> None:
    query, key, value = operands()
    mask = torch.rand(2, 1, 4, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[..., 0] = True
    for given in (None, mask):
        plain = attend(query, key, value, given)
        with torch.no_grad():
            fused = attend(query, key, value, given)
        assert torch.allclose(plain, fused, atol=1e-5)


def test_a_query_does_not_read_masked_keys() -> None:
    query, key, value = operands()
    mask = torch.ones(1, 1, 1, 6, dtype=torch.bool)
    mask[..., 2:] = False
    other = value.clone()
    other[:, :, 2:] = 1e6
    assert torch.allclose(attend(query, key, value, mask), attend(query, key, other, mask))


@pytest.mark.parametrize('block', [3, 4, 256])
@pytest.mark.parametrize(('rows', 'columns'), [(8, 8), (7, 11), (4, 5), (1, 6)])
def test_causal_attention_equals_an_explicit_mask(
    rows: int, columns: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('instructseg_ros.model.attention._BLOCK', block)
    query, key, value = operands(rows, columns)
    expected = exact(query, key, value, lower_right(rows, columns))
    near(attend(query, key, value, causal=True), expected)
    with torch.no_grad():
        near(attend(query, key, value, causal=True), expected)
        halves = [x.to(torch.bfloat16) for x in (query, key, value)]
        near_in_bfloat16(attend(*halves, causal=True), expected)


def test_causal_blocks_have_the_gradients_of_an_explicit_mask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('instructseg_ros.model.attention._BLOCK', 3)
    leaves = [x.requires_grad_() for x in operands(8, 10)]
    mine = torch.autograd.grad(attend(*leaves, causal=True).square().sum(), leaves)
    theirs = exact(*leaves, lower_right(8, 10)).square().sum()
    for my_slope, their_slope in zip(mine, torch.autograd.grad(theirs, leaves), strict=True):
        near(my_slope, their_slope)


@pytest.mark.parametrize('batch', [1, 2])
def test_a_mask_of_numbers_is_added_to_the_scores(batch: int) -> None:
    query, key, value = operands()
    mask = torch.randn(batch, 1, 4, 6, generator=torch.Generator().manual_seed(1))
    mask[..., 3] = -float('inf')
    expected = exact(query, key, value, mask)
    near(attend(query, key, value, mask), expected)
    with torch.no_grad():
        near(attend(query, key, value, mask), expected)


def test_neither_bool_nor_float_masks_are_modified() -> None:
    query, key, value = operands()
    added = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    for mask in (added, added > 0):
        before = mask.clone()
        attend(query, key, value, mask)
        assert torch.equal(mask, before)


@torch.no_grad()
def test_attention_in_bfloat16_is_near_that_in_float32() -> None:
    added = torch.randn(2, 1, 4, 6, generator=torch.Generator().manual_seed(1))
    halves = [x.to(torch.bfloat16) for x in operands()]
    for mask in (None, added > -1, added, added.to(torch.bfloat16)):
        expected = exact(*operands(), torch.zeros(1) if mask is None else mask)
        near_in_bfloat16(attend(*halves, mask), expected)


@torch.no_grad()
@pytest.mark.parametrize('shift', [-1e4, -128.0, 128.0, 1e4])
def test_scores_whose_exponentials_are_out_of_range_are_weighed_too(shift: float) -> None:
    query, key, value = operands()
    query[:, :, 1:] = 0  # their scores are the shift alone, which bfloat16 keeps
    added = torch.full((1, 1, 4, 6), shift)
    added[:, :, 0] = 0
    halves = [x.to(torch.bfloat16) for x in (query, key, value)]
    near_in_bfloat16(attend(*halves, added), exact(query, key, value, added))


@pytest.mark.parametrize('theirs', ['eager', 'sdpa'])
@pytest.mark.parametrize('gradients', [True, False])
def test_phi_gives_the_same_result_as_with_attention_of_transformers(
    theirs: str, gradients: bool
) -> None:
    model = phi()
    embeddings = torch.randn(2, 9, 40, generator=torch.Generator().manual_seed(1))
    padding = torch.ones(2, 9, dtype=torch.long)
    padding[1, 6:] = 0

    def states() -> list[torch.Tensor]:
        cache = DynamicCache(config=model.config)
        parts = [embeddings[:, :5], embeddings[:, 5:]]
        in_turn = [model(None, None, None, cache, part).last_hidden_state for part in parts]
        padded = model(inputs_embeds=embeddings, attention_mask=padding).last_hidden_state
        whole = model(inputs_embeds=embeddings).last_hidden_state
        return [whole, padded[padding.bool()], torch.cat(in_turn, dim=1)]

    with torch.set_grad_enabled(gradients):
        model.set_attn_implementation(theirs)
        expected = states()
        model.set_attn_implementation(IMPLEMENTATION)
        for mine, its in zip(states(), expected, strict=True):
            near(mine, its)
