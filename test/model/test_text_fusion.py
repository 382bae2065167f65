"""Text fusion, and pointers from mask tokens to image cells."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from small_models import compact_config, released_config, scramble
from torch.nn import functional

from instructseg_ros.model.attention import attend, merge_heads, split_heads
from instructseg_ros.model.text_fusion import Pointer, TextFusion

CHANNELS = 16


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def fusion() -> TextFusion:
    torch.manual_seed(0)
    module = TextFusion(released_config(), CHANNELS)
    scramble(module)
    return module


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    pooled = torch.randn(2, 3, 40, generator=generator)
    return pooled, torch.randn(2, CHANNELS, 3, 4, generator=generator)


def with_words(
    fusion: TextFusion, pooled: torch.Tensor, words: torch.Tensor, coarse: torch.Tensor
) -> torch.Tensor:
    """The paper's fusion of (R, hidden) words with one instruction, as the released code has it.

    All rows are queries; of the text only the pooled row is among the keys.
    """
    memory = fusion.local_project(coarse).flatten(2).transpose(1, 2)
    rows = fusion.text_projector(torch.cat([pooled[None], words]))[None]
    for attention, feed_forward in fusion.resampler.layers:
        normed = attention.norm_latents(rows)
        source = torch.cat([attention.norm_media(memory), normed[:, :1]], dim=1)
        key, value = attention.to_kv(source).chunk(2, dim=-1)
        heads = [split_heads(x, attention.heads) for x in (attention.to_q(normed), key, value)]
        rows = rows + attention.to_out(merge_heads(attend(*heads)))
        rows = rows + feed_forward(rows)
    fused = fusion.resampler.norm(rows)[0, 0]
    return fusion.condition_projector(torch.cat([fusion.pooled_projector(pooled), fused]))


@pytest.mark.parametrize('count', [0, 1, 7])
def test_only_the_pooled_row_of_the_text_matters(fusion: TextFusion, count: int) -> None:
    pooled, coarse = inputs()
    words = torch.randn(count, 40, generator=torch.Generator().manual_seed(count)) * 5
    expected = with_words(fusion, pooled[0, 1], words, coarse[:1])
    assert torch.allclose(fusion(pooled, coarse)[0, 1], expected, atol=1e-5)


def test_every_instruction_is_fused_with_its_own_frame(fusion: TextFusion) -> None:
    pooled, coarse = inputs()
    together = fusion(pooled, coarse)
    assert together.shape == (2, 3, 32)
    for frame in range(2):
        for number in range(3):
            alone = fusion(pooled[frame : frame + 1, number : number + 1], coarse[frame, None])
            assert torch.allclose(together[frame, number], alone[0, 0], atol=1e-5)


def test_text_and_image_both_matter(fusion: TextFusion) -> None:
    pooled, coarse = inputs()
    condition = fusion(pooled, coarse)
    assert not torch.allclose(fusion(pooled, -coarse), condition, atol=1e-3)
    assert not torch.allclose(fusion(-pooled, coarse), condition, atol=1e-3)


def test_image_cells_have_no_positions(fusion: TextFusion) -> None:
    pooled, coarse = inputs()
    assert torch.allclose(fusion(pooled, coarse.flip(2, 3)), fusion(pooled, coarse), atol=1e-5)


def test_the_skip_branch_is_linear_in_the_text(fusion: TextFusion) -> None:
    pooled, coarse = inputs()
    fusion.text_projector.weight.zero_()  # the fused branch no longer sees the text
    one, two = fusion(pooled, coarse), fusion(2 * pooled, coarse)
    nothing = fusion(0 * pooled, coarse)
    assert torch.allclose(two - nothing, 2 * (one - nothing), atol=1e-4)
    skip = functional.linear(pooled, fusion.pooled_projector.weight)
    weight = fusion.condition_projector.weight[:, : skip.shape[-1]]
    assert torch.allclose(one - nothing, functional.linear(skip, weight), atol=1e-4)


HIDDEN, CELLS = 40, 16


@pytest.fixture
def pointer() -> Pointer:
    torch.manual_seed(0)
    module = Pointer(compact_config())
    scramble(module)
    return module


def states() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(8)
    tokens = torch.randn(2, 3, 5, HIDDEN, generator=generator)
    return tokens, torch.randn(2, CELLS, HIDDEN, generator=generator)


def test_logits_are_scaled_products_of_states(pointer: Pointer) -> None:
    tokens, cells = states()
    logits = pointer.point(tokens, cells)
    assert logits.shape == (2, 3, 5, CELLS)
    expected = pointer.query(tokens[1, 2, 4]) @ pointer.key(cells[1, 7]) / HIDDEN**0.5
    assert logits[1, 2, 4, 7].item() == pytest.approx((expected + pointer.bias).item(), abs=1e-4)


def test_content_is_the_sum_of_selected_cells_and_the_evidence(pointer: Pointer) -> None:
    _, cells = states()
    logits = torch.full((2, 3, 5, CELLS), -30.0)
    logits[0, 1, 2, [3, 9]] = 30.0
    content, evidence = pointer.read(logits, cells)
    assert content.shape == evidence.shape == (2, 3, 5, 32)
    pointed = pointer.content(cells[0, 3] + cells[0, 9])
    torch.testing.assert_close(content[0, 1, 2], pointed + evidence[0, 1, 2], atol=1e-4, rtol=1e-4)
    nothing = pointer.content.bias + evidence[1, 0, 0]
    torch.testing.assert_close(content[1, 0, 0], nothing, atol=1e-4, rtol=1e-4)


def test_evidence_is_the_peak_and_the_number_of_cells_pointed_at(pointer: Pointer) -> None:
    _, cells = states()
    logits = torch.full((1, 1, 3, CELLS), -30.0)
    logits[0, 0, 1, 0] = 4.0
    logits[0, 0, 2, :5] = 4.0
    _, evidence = pointer.read(logits, cells[:1])
    sure = torch.tensor(4.0).sigmoid().item()
    facts = torch.tensor([[-30.0, 0.0, 0.0], [4.0, 4 * sure, sure], [4.0, 4 * sure, 5 * sure]])
    torch.testing.assert_close(evidence[0, 0], pointer.evidence(facts), atol=1e-4, rtol=1e-4)


def test_evidence_does_not_depend_on_the_content_of_cells(pointer: Pointer) -> None:
    tokens, cells = states()
    logits = pointer.point(tokens, cells)
    _, evidence = pointer.read(logits, cells)
    _, other = pointer.read(logits, -cells)
    assert torch.equal(evidence, other)
