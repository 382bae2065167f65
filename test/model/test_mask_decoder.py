from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from small_models import compact_config, released_config, scramble
from torch.nn import functional

from instructseg_ros.model.mask_decoder import MaskDecoder, best_mask, mask_quality
from instructseg_ros.model.pixel_branch import PixelFeatures

WIDTH, QUERIES = 32, 8


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def make_decoder(*, upsampling: int = 1) -> MaskDecoder:
    config = (compact_config() if upsampling > 1 else released_config()).mask_config
    config.mask_upsampling = upsampling
    torch.manual_seed(0)
    module = MaskDecoder(config).eval()
    scramble(module)
    return module


@pytest.fixture
def decoder() -> MaskDecoder:
    return make_decoder()


def features(channels: int = 16, frames: int = 2, upsampling: int = 1) -> PixelFeatures:
    generator = torch.Generator().manual_seed(5)
    sizes = [(2, 3), (4, 6), (8, 12)]
    fine = (16 * upsampling, 24 * upsampling)
    return PixelFeatures(
        coarse=torch.zeros(frames, 1, 2, 3),
        levels=tuple(torch.randn(frames, WIDTH, *size, generator=generator) for size in sizes),
        mask_features=torch.randn(frames, channels, *fine, generator=generator),
    )


def prompts(frames: int = 2, instructions: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(6)
    return (
        torch.randn(frames, instructions, QUERIES, WIDTH, generator=generator),
        torch.randn(frames, instructions, WIDTH, generator=generator),
    )


def uniform(mask_features: torch.Tensor) -> PixelFeatures:
    """(C, H, W) mask features on one frame."""
    plain = features(frames=1)
    return PixelFeatures(
        coarse=plain.coarse, levels=plain.levels, mask_features=mask_features[None]
    )


def embedding_of_first(decoder: MaskDecoder, queries: torch.Tensor) -> torch.Tensor:
    """(C,) embedding of the first query, before the first layer."""
    return decoder.mask_embed(decoder.norm(queries))[0, 0, 0]


def test_the_first_prediction_comes_before_the_first_layer(decoder: MaskDecoder) -> None:
    queries, condition = prompts()
    pixels = features()
    predictions = decoder(queries, condition, pixels)
    assert len(predictions) == len(decoder.layers) + 1
    states = decoder.norm(queries)
    masks = torch.einsum('fkqc,fchw->fkqhw', decoder.mask_embed(states), pixels.mask_features)
    scores = (decoder.score_embed(states) * condition[:, :, None]).sum(dim=-1)
    torch.testing.assert_close(predictions[0].mask_logits, masks)
    torch.testing.assert_close(predictions[0].score_logits, scores)


def test_instructions_and_frames_do_not_look_at_each_other(decoder: MaskDecoder) -> None:
    queries, condition = prompts()
    pixels = features()
    together = decoder(queries, condition, pixels)[-1]
    own = PixelFeatures(
        coarse=pixels.coarse[1:],
        levels=tuple(level[1:] for level in pixels.levels),
        mask_features=pixels.mask_features[1:],
    )
    alone = decoder(queries[1:, 2:], condition[1:, 2:], own)[-1]
    torch.testing.assert_close(
        together.mask_logits[1:, 2:], alone.mask_logits, atol=1e-4, rtol=1e-3
    )
    torch.testing.assert_close(
        together.score_logits[1:, 2:], alone.score_logits, atol=1e-4, rtol=1e-3
    )


def test_queries_of_one_instruction_look_at_each_other(decoder: MaskDecoder) -> None:
    queries, condition = prompts(frames=1, instructions=1)
    changed = queries.clone()
    changed[0, 0, 4] *= -1
    before = decoder(queries, condition, features(frames=1))[-1].score_logits[0, 0]
    after = decoder(changed, condition, features(frames=1))[-1].score_logits[0, 0]
    assert ((before - after).abs() > 1e-4).all()


def test_a_query_with_an_empty_mask_sees_everything(decoder: MaskDecoder) -> None:
    queries, condition = prompts(frames=1, instructions=1)
    queries = queries[:, :, :1].expand(-1, -1, QUERIES, -1)  # all masks are alike at first
    one = embedding_of_first(decoder, queries)[:, None, None].expand(-1, 16, 24)
    nowhere = decoder(queries, condition, uniform(-one))
    everywhere = decoder(queries, condition, uniform(one))
    assert (nowhere[0].mask_logits < 0).all() and (everywhere[0].mask_logits > 0).all()
    torch.testing.assert_close(nowhere[1].score_logits, everywhere[1].score_logits)


def test_a_query_reads_only_where_its_last_mask_is(decoder: MaskDecoder) -> None:
    queries, condition = prompts(frames=1, instructions=1)
    queries = queries[:, :, :1].expand(-1, -1, QUERIES, -1)
    mask = embedding_of_first(decoder, queries)[:, None, None].repeat(1, 16, 24)
    mask[:, :, 8:] *= -1  # the mask is the leftmost of three columns of the coarsest level
    pixels = uniform(mask)

    def score(column: int) -> torch.Tensor:
        level = pixels.levels[0].clone()
        level[..., column] += 3
        changed = PixelFeatures(
            coarse=pixels.coarse,
            levels=(level, *pixels.levels[1:]),
            mask_features=pixels.mask_features,
        )
        return decoder(queries, condition, changed)[1].score_logits

    before = decoder(queries, condition, pixels)[1].score_logits
    assert not torch.allclose(score(0), before, atol=1e-3)
    torch.testing.assert_close(score(1), before)
    torch.testing.assert_close(score(2), before)


def test_layers_read_levels_from_coarse_to_fine_in_turn() -> None:
    config = released_config().mask_config
    config.decoder_layers = 5
    torch.manual_seed(0)
    decoder = MaskDecoder(config)
    scramble(decoder)
    queries, condition = prompts(frames=1, instructions=1)
    pixels = features(frames=1)

    def first_change(level: int) -> int:
        levels = list(pixels.levels)
        levels[level] = -levels[level]
        changed = PixelFeatures(
            coarse=pixels.coarse, levels=tuple(levels), mask_features=pixels.mask_features
        )
        pairs = zip(
            decoder(queries, condition, pixels), decoder(queries, condition, changed), strict=True
        )
        same = [torch.equal(a.score_logits, b.score_logits) for a, b in pairs]
        return same.index(False)

    assert [first_change(level) for level in range(3)] == [1, 2, 3]


def test_upsampled_mask_features_make_only_the_last_masks_finer() -> None:
    decoder = make_decoder(upsampling=2)
    queries, condition = prompts()
    predictions = decoder(queries, condition, features(channels=8, upsampling=2))
    sizes = [prediction.mask_logits.shape[-2:] for prediction in predictions]
    assert sizes == [(16, 24)] * (len(sizes) - 1) + [(32, 48)]


def test_finer_masks_average_to_the_coarse_ones() -> None:
    fine = make_decoder(upsampling=2)
    coarse = make_decoder(upsampling=2)
    coarse.upsampling = 1
    queries, condition = prompts()
    pixels = features(channels=8, upsampling=2)
    averaged = PixelFeatures(
        coarse=pixels.coarse,
        levels=pixels.levels,
        mask_features=torch.nn.functional.avg_pool2d(pixels.mask_features, 2),
    )
    mine = fine(queries, condition, pixels)[-1]
    its = coarse(queries, condition, averaged)[-1]
    torch.testing.assert_close(mine.score_logits, its.score_logits)
    means = torch.nn.functional.avg_pool2d(mine.mask_logits.flatten(0, 2), 2)
    torch.testing.assert_close(
        means.view_as(its.mask_logits), its.mask_logits, atol=1e-4, rtol=1e-3
    )


def test_evidence_changes_scores_and_no_mask(decoder: MaskDecoder) -> None:
    queries, condition = prompts()
    evidence = torch.randn(queries.shape, generator=torch.Generator().manual_seed(7))
    without = decoder(queries, condition, features())
    with_it = decoder(queries, condition, features(), evidence)
    for before, after in zip(without, with_it, strict=True):
        assert torch.equal(before.mask_logits, after.mask_logits)
        assert not torch.allclose(before.score_logits, after.score_logits, atol=1e-3)


def test_scores_are_products_with_the_condition(decoder: MaskDecoder) -> None:
    queries, condition = prompts()
    once = decoder(queries, condition, features())[-1]
    twice = decoder(queries, 2 * condition, features())[-1]
    torch.testing.assert_close(twice.score_logits, 2 * once.score_logits)
    assert torch.equal(twice.mask_logits, once.mask_logits)


def test_training_and_inference_decode_alike(decoder: MaskDecoder) -> None:
    queries, condition = prompts()
    fused = decoder(queries, condition, features())[-1]
    with torch.enable_grad():
        plain = decoder(queries, condition, features())[-1]
    torch.testing.assert_close(plain.mask_logits, fused.mask_logits, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize('upsampling', [1, 2])
def test_the_final_prediction_alone_is_that_of_all(upsampling: int) -> None:
    decoder = make_decoder(upsampling=upsampling)
    queries, condition = prompts()
    evidence = torch.randn(queries.shape, generator=torch.Generator().manual_seed(7))
    pixels = features(channels=16 // upsampling, upsampling=upsampling)
    *_, last = decoder(queries, condition, pixels, evidence)
    (alone,) = decoder(queries, condition, pixels, evidence, final_only=True)
    assert torch.equal(alone.mask_logits, last.mask_logits)
    assert torch.equal(alone.score_logits, last.score_logits)


@pytest.mark.parametrize('size', [(2, 3), (4, 6), (8, 12), (5, 7)])
def test_attention_masks_are_the_full_masks_made_smaller(
    decoder: MaskDecoder, size: tuple[int, int]
) -> None:
    queries, condition = prompts()
    pixels = features()

    def resize(x: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(x, size=size, mode='bilinear', align_corners=False)

    full = decoder(queries, condition, pixels)[0].mask_logits
    logits = resize(full.flatten(0, 1)).view(*full.shape[:3], -1)
    expected = (logits >= 0) | (logits < 0).all(dim=-1, keepdim=True)
    clear = logits.abs() > 1e-4
    mask = decoder._attention_mask(queries, resize(pixels.mask_features))
    assert mask.dtype == torch.bool and mask.shape == logits.shape
    assert torch.equal(mask[clear], expected[clear])
    assert 0 < mask.float().mean() < 1 and clear.float().mean() > 0.9


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


@pytest.mark.parametrize(('restore_one', 'most'), [(False, 3), (True, 1)])
def test_masks_that_cannot_win_are_never_brought_to_full_size(restore_one: bool, most: int) -> None:
    masks = torch.full((50, 4, 4), 8.0)
    scores = torch.linspace(-3, 3, 50)
    seen: list[torch.Tensor] = []

    def restore(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x

    best_mask(masks, scores, restore, restore_one=restore_one)
    assert 1 <= len(seen) <= most


def test_the_score_is_zero_if_every_mask_is_empty() -> None:
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
