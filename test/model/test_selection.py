from __future__ import annotations

import pytest
import torch

from instructseg_ros.model.mask_decoder import best_mask, mask_quality


def brute_force(
    mask_logits: torch.Tensor, score_logits: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Products of score and mean probability inside of all masks, and the best of them."""
    products = []
    for logits, score in zip(mask_logits, score_logits, strict=True):
        inside = logits > 0
        total = logits.sigmoid()[inside].sum()
        products.append(score.sigmoid() * total / (inside.sum() + 1e-6))
    return torch.stack(products), torch.stack(products).max()


def random_case(seed: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randn(12, 6, 7, generator=generator) * spread
    scores = torch.randn(12, generator=generator) * spread
    # Some masks are empty, among them often the one with the highest score.
    empty = torch.rand(12, generator=generator) < 0.3
    empty[scores.argmax()] |= bool(seed % 2)
    masks[empty] = -masks[empty].abs()
    return masks, scores


@pytest.mark.parametrize('spread', [0.1, 1.0, 6.0])
@pytest.mark.parametrize('seed', range(20))
def test_the_best_mask_is_that_of_an_exhaustive_search(seed: int, spread: float) -> None:
    masks, scores = random_case(seed, spread)
    products, best = brute_force(masks, scores)
    logits, score = best_mask(masks, scores, lambda x: x)
    assert score == pytest.approx(best.item(), rel=1e-5)
    assert torch.equal(logits, masks[products.argmax()])


def test_masks_are_judged_at_the_images_size() -> None:
    masks, scores = random_case(3, 2.0)

    def restore(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(x[None], size=(20, 13), mode='bilinear')[0]

    products, best = brute_force(restore(masks), scores)
    logits, score = best_mask(masks, scores, restore)
    assert logits.shape == (20, 13)
    assert score == pytest.approx(best.item(), rel=1e-5)
    assert torch.allclose(logits, restore(masks)[products.argmax()])


def test_masks_that_cannot_win_are_never_brought_to_full_size() -> None:
    masks = torch.full((50, 4, 4), 8.0)
    scores = torch.linspace(-3, 3, 50)
    seen: list[torch.Tensor] = []

    def restore(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x

    best_mask(masks, scores, restore)
    assert 1 <= len(seen) <= 3


def test_where_every_mask_is_empty_the_score_is_nothing() -> None:
    logits, score = best_mask(torch.full((3, 4, 5), -1.0), torch.tensor([1.0, 3, 2]), lambda x: x)
    assert score == 0
    assert logits.shape == (4, 5) and not (logits > 0).any()


def test_a_single_mask_is_the_best_one() -> None:
    masks = torch.tensor([[[2.0, -1.0]]])
    logits, score = best_mask(masks, torch.tensor([0.0]), lambda x: x)
    assert torch.equal(logits, masks[0])
    assert score == pytest.approx(0.5 * torch.tensor(2.0).sigmoid().item(), rel=1e-5)


def test_half_precision_scores_are_compared_in_full_precision() -> None:
    masks = torch.full((1, 2, 2), 20.0)
    _, score = best_mask(masks, torch.tensor([7.0], dtype=torch.bfloat16), lambda x: x)
    assert score == pytest.approx(torch.tensor(7.0).sigmoid().item(), rel=1e-5)


def test_quality_is_the_mean_probability_inside() -> None:
    logits = torch.tensor([[[1.0, 3.0], [-9.0, -2.0]], [[-1.0, -1.0], [-1.0, 0.0]]])
    inside = torch.tensor([1.0, 3.0]).sigmoid().mean().item()
    assert mask_quality(logits).tolist() == pytest.approx([inside, 0.0], rel=1e-5)
