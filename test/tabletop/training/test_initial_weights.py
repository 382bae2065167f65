from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import compact_config, processor_of
from torch import nn

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.tabletop.training.initial_weights import (
    initialize_from_model,
    initialize_from_scratch,
)


def fresh(seed: int) -> InstructSegModel:
    torch.manual_seed(seed)
    model = InstructSegModel(compact_config())
    initialize_from_scratch(model)
    return model


@pytest.fixture(scope='module')
def model() -> InstructSegModel:
    return fresh(0)


def test_the_seed_decides_about_every_start_value(model: InstructSegModel) -> None:
    same, other = fresh(0).state_dict(), fresh(1).state_dict()
    mine = model.state_dict()
    assert all(torch.equal(mine[name], same[name]) for name in mine)
    assert not torch.equal(mine['projector.0.weight'], other['projector.0.weight'])


def test_layers_start_wider_the_narrower_they_are(model: InstructSegModel) -> None:
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.any() and module.weight.numel() > 500:
            bound = module.in_features**-0.5
            assert 0.8 * bound < module.weight.abs().max() <= bound


def test_mask_tokens_can_be_told_apart(model: InstructSegModel) -> None:
    apart = torch.cdist(model.seg_query, model.seg_query)
    assert (apart + torch.eye(len(apart)) > 0.1).all()


def test_norms_start_as_identities(model: InstructSegModel) -> None:
    for module in model.modules():
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)):
            assert (module.weight == 1).all() and (module.bias == 0).all()


def test_heads_of_the_pixel_decoder_look_around_in_different_directions(
    model: InstructSegModel,
) -> None:
    attention = model.pixel_branch.decoder.encoder.layers[0].self_attn
    assert not attention.sampling_offsets.weight.any()
    shape = (attention.n_heads, attention.n_levels, attention.n_points, 2)
    offsets = attention.sampling_offsets.bias.view(shape)
    reach = offsets.abs().amax(dim=-1)
    expected = torch.arange(1, attention.n_points + 1).float().expand(shape[:-1])
    torch.testing.assert_close(reach, expected)
    directions = torch.nn.functional.normalize(offsets[:, 0, 0], dim=-1)
    apart = torch.cdist(directions, directions) + 9 * torch.eye(attention.n_heads)
    assert apart.min() > 0.5


def test_places_of_a_model_that_saw_smaller_pictures_are_spread_over_more_cells(
    model: InstructSegModel, tmp_path: Path
) -> None:
    rows = torch.arange(4.0).repeat_interleave(4)
    with torch.no_grad():
        model.perceiver.position.copy_(rows[:, None].expand_as(model.perceiver.position))
    model.save_pretrained(tmp_path)
    processor = processor_of(model.config, mask_size=(64, 64), compact=True)
    processor.save_pretrained(tmp_path)
    config = compact_config()
    config.vision_config.image_size = 128
    finer = InstructSegModel(config)
    initialize_from_model(str(tmp_path), processor, finer)
    assert torch.equal(finer.projector[0].weight, model.projector[0].weight)
    spread = finer.perceiver.position.unflatten(0, (8, 8))
    assert torch.equal(spread[:, 0], spread[:, -1])
    # Cell 2r + 1 of eight lies a quarter of a cell after the middle of cell r of four.
    torch.testing.assert_close(spread[3:5, 0, 0], torch.tensor([1.25, 1.75]))
