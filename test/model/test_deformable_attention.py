from __future__ import annotations

import copy

import pytest
import torch
from small_models import scramble
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
    Mask2FormerPixelDecoderEncoderOnly,
    multi_scale_deformable_attention,
)

from instructseg_ros.model.deformable_attention import DeformableAttention, SamplePoints, sample

SHAPES = [(3, 5), (4, 2), (7, 9)]
CELLS = sum(height * width for height, width in SHAPES)
BATCH, QUERIES, HEADS, DEPTH, POINTS = 2, 6, 3, 4, 4
SIZES = torch.tensor([[width, height] for height, width in SHAPES])[:, None].float()


def random_operands() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values, places all over the maps and a little outside, and weights."""
    generator = torch.Generator().manual_seed(0)
    shape = (BATCH, QUERIES, HEADS, len(SHAPES), POINTS)
    values = torch.randn(BATCH, CELLS, HEADS, DEPTH, generator=generator)
    places = torch.rand(*shape, 2, generator=generator) * (SIZES + 4) - 2.5
    return values, places, torch.rand(*shape, generator=generator)


def sample_of_ours(
    values: torch.Tensor, places: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    by_head = places.flatten(3, 4).transpose(1, 2)
    return sample(
        values, SHAPES, SamplePoints(*by_head.unbind(-1)), weights.flatten(3).transpose(1, 2)
    )


def sample_of_transformers(
    values: torch.Tensor, places: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    return multi_scale_deformable_attention(values, SHAPES, (places + 0.5) / SIZES, weights)


def module_operands(generator: torch.Generator) -> dict[str, torch.Tensor]:
    states = torch.randn(3, BATCH, CELLS, 24, generator=generator)
    return {
        'hidden_states': states[0],
        'encoder_hidden_states': states[1],
        'position_embeddings': states[2],
    }


def scrambled_module() -> DeformableAttention:
    torch.manual_seed(0)
    module = DeformableAttention(24, HEADS, len(SHAPES), POINTS)
    scramble(module)
    return module


def test_samples_are_those_of_transformers() -> None:
    values, places, weights = random_operands()
    mine = sample_of_ours(values, places, weights)
    assert mine.shape == (BATCH, QUERIES, HEADS * DEPTH)
    theirs = sample_of_transformers(values, places, weights)
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('beyond', [-1e6, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 1e6])
def test_samples_at_the_border_and_outside_are_those_of_transformers(beyond: float) -> None:
    values, places, weights = random_operands()
    border = SIZES - 1 + beyond if beyond > 0 else torch.full_like(SIZES, beyond)
    places[:, :2, ..., 0] = border[..., 0]
    places[:, 1:4, ..., 1] = border[..., 1]
    mine = sample_of_ours(values, places, weights)
    theirs = sample_of_transformers(values, places, weights)
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    if abs(beyond) >= 1:
        assert not mine[:, :4].any() and mine[:, 4:].any()


def test_a_place_on_a_cell_reads_that_cell_alone() -> None:
    values, _, _ = random_operands()
    start = 0
    for level, (height, width) in enumerate(SHAPES):
        cells = torch.arange(height * width)
        places = torch.full((BATCH, len(cells), HEADS, len(SHAPES), 1, 2), -9.0)
        places[..., level, 0, 0] = (cells % width)[:, None].float()
        places[..., level, 0, 1] = (cells // width)[:, None].float()
        read = sample_of_ours(values, places, torch.ones(places.shape[:-1]))
        assert torch.equal(read, values[:, start + cells].flatten(2))
        start += len(cells)


def test_gradients_are_those_of_transformers() -> None:
    _, places, _ = random_operands()
    # Slopes jump on cells: between them both sides must agree.
    places = places.floor() + 0.1 + 0.8 * (places - places.floor())
    values, _, weights = random_operands()
    wanted = torch.randn(BATCH, QUERIES, HEADS * DEPTH, generator=torch.Generator().manual_seed(1))
    leaves = [x.requires_grad_() for x in (values, places, weights)]
    mine = torch.autograd.grad((sample_of_ours(values, places, weights) * wanted).sum(), leaves)
    theirs = (sample_of_transformers(values, places, weights) * wanted).sum()
    for my_slope, their_slope in zip(mine, torch.autograd.grad(theirs, leaves), strict=True):
        assert their_slope.any()
        torch.testing.assert_close(my_slope, their_slope, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('nowhere', [float('nan'), float('inf'), -float('inf')])
def test_a_point_that_is_nan_or_infinite_reads_zeros(nowhere: float) -> None:
    values, places, weights = random_operands()
    places[0, 0] = nowhere
    places[1, 2, :, :, 1, 0] = nowhere
    places[1, 3, :, :, 2, 1] = nowhere
    without = weights.clone()
    without[0, 0] = without[1, 2, :, :, 1] = without[1, 3, :, :, 2] = 0
    read = sample_of_ours(values, places, weights)
    assert torch.equal(read[0, 0], torch.zeros(HEADS * DEPTH))
    torch.testing.assert_close(read, sample_of_ours(values, places.nan_to_num(0, 0, 0), without))


def test_the_module_is_that_of_transformers() -> None:
    mine = scrambled_module()
    theirs = Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention(
        24, HEADS, len(SHAPES), POINTS
    )
    theirs.load_state_dict(mine.state_dict())
    operands = module_operands(torch.Generator().manual_seed(2))
    my_states, _ = mine(**operands, spatial_shapes_list=SHAPES)
    points = Mask2FormerPixelDecoderEncoderOnly.get_reference_points(
        SHAPES, torch.ones(BATCH, len(SHAPES), 2), 'cpu'
    )
    their_states, _ = theirs(**operands, reference_points=points, spatial_shapes_list=SHAPES)
    torch.testing.assert_close(my_states, their_states, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_bfloat16_module_is_near_the_float32_one() -> None:
    full = scrambled_module()
    half = copy.deepcopy(full).to(torch.bfloat16)
    operands = module_operands(torch.Generator().manual_seed(2))
    exact, _ = full(**operands, spatial_shapes_list=SHAPES)
    halves = {name: value.to(torch.bfloat16) for name, value in operands.items()}
    near, _ = half(**halves, spatial_shapes_list=SHAPES)
    assert near.dtype == torch.bfloat16
    torch.testing.assert_close(near.float(), exact, atol=0.1, rtol=0.05)


@torch.no_grad()
def test_bfloat16_tells_neighbouring_cells_of_a_wide_map_apart() -> None:
    columns = 300
    module = DeformableAttention(8, 1, 1, 1)
    for parameter in module.parameters():
        parameter.zero_()
    module.value_proj.weight.copy_(torch.eye(8))
    module.output_proj.weight.copy_(torch.eye(8))
    states = torch.randn(1, columns, 8, generator=torch.Generator().manual_seed(0))
    states = states.to(torch.bfloat16)
    read, _ = module.to(torch.bfloat16)(
        states,
        encoder_hidden_states=states,
        position_embeddings=torch.zeros_like(states),
        spatial_shapes_list=[(1, columns)],
    )
    torch.testing.assert_close(read, states, atol=1e-3, rtol=1e-2)
