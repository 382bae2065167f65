from __future__ import annotations

import torch

from instructseg_ros.model.attention import attend, merge_heads, split_heads


def operands() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 3, 4, 5, generator=generator)
    key = torch.randn(2, 3, 6, 5, generator=generator)
    return query, key, torch.randn(2, 3, 6, 5, generator=generator)


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


def test_a_query_reads_nothing_of_what_its_mask_hides() -> None:
    query, key, value = operands()
    mask = torch.ones(1, 1, 1, 6, dtype=torch.bool)
    mask[..., 2:] = False
    other = value.clone()
    other[:, :, 2:] = 1e6
    assert torch.allclose(attend(query, key, value, mask), attend(query, key, other, mask))
