"""The pixel decoder answers as transformers' forward pass over the same layers."""

from __future__ import annotations

import copy

import pytest
import torch
from small_models import SmallModel
from torch import nn
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

from instructseg_ros.model.pixel_branch import PixelDecoder

SIZES = [(13, 18), (7, 9), (4, 5), (2, 3)]


def feature_maps(decoder: PixelDecoder, *, frames: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(frames, channels, *size, generator=generator)
        for channels, size in zip(decoder.feature_channels, SIZES, strict=True)
    ]


def channels_last(maps: list[torch.Tensor]) -> list[torch.Tensor]:
    return [x.contiguous(memory_format=torch.channels_last) for x in maps]


def assert_near(mine: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('frames', [1, 3])
@pytest.mark.parametrize('gradients', [True, False])
def test_features_are_those_of_transformers(
    small: SmallModel, frames: int, gradients: bool
) -> None:
    decoder = small.model.pixel_branch.decoder
    theirs = copy.copy(decoder)
    theirs.__class__ = Mask2FormerPixelDecoder
    maps = feature_maps(decoder, frames=frames)
    with torch.set_grad_enabled(gradients):
        expected = theirs(maps)
        for given in (maps, channels_last(maps)):
            mine = decoder(given)
            assert_near(mine.mask_features, expected.mask_features)
            for level, its in zip(
                mine.multi_scale_features, expected.multi_scale_features, strict=True
            ):
                assert_near(level, its)


@torch.no_grad()
@pytest.mark.parametrize('frames', [1, 2])
def test_features_stay_in_the_layout_of_the_maps(small: SmallModel, frames: int) -> None:
    decoder = small.model.pixel_branch.decoder
    mine = decoder(channels_last(feature_maps(decoder, frames=frames)))
    for x in (mine.mask_features, *mine.multi_scale_features):
        assert x.stride(1) == 1


def test_the_finest_level_joins_by_convolutions_with_biases_and_relu(small: SmallModel) -> None:
    decoder = small.model.pixel_branch.decoder
    for module in (decoder.adapter_1, decoder.layer_1):
        convolution, norm, activation = module
        assert convolution.bias is not None
        assert isinstance(norm, nn.GroupNorm) and norm.num_groups == 32
        assert isinstance(activation, nn.ReLU)
    assert decoder.lateral_convolutions == [decoder.adapter_1]
    assert decoder.output_convolutions == [decoder.layer_1]


@torch.no_grad()
def test_mask_features_are_the_released_top_down_step(released: SmallModel) -> None:
    decoder = released.model.pixel_branch.decoder
    maps = feature_maps(decoder, frames=1)
    features = decoder(maps)
    coarser = nn.functional.interpolate(
        features.multi_scale_features[-1], size=SIZES[0], mode='bilinear', align_corners=False
    )
    joined = decoder.layer_1(decoder.adapter_1(maps[0]) + coarser)
    assert_near(features.mask_features, decoder.mask_projection(joined))
