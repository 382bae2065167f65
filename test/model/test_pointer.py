from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from small_models import compact_config, scramble

from instructseg_ros.model.fusion import Pointer

HIDDEN, CELLS = 40, 16


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


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


def test_content_is_the_sum_of_what_is_pointed_at_with_the_evidence(pointer: Pointer) -> None:
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


def test_evidence_does_not_depend_on_what_the_cells_show(pointer: Pointer) -> None:
    tokens, cells = states()
    logits = pointer.point(tokens, cells)
    _, evidence = pointer.read(logits, cells)
    _, other = pointer.read(logits, -cells)
    assert torch.equal(evidence, other)
