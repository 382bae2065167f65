"""Swin's feature maps are those of transformers."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from small_models import scramble
from torch import nn
from transformers import SwinConfig
from transformers.models.swin.modeling_swin import SwinBackbone

from instructseg_ros.model.attention import IMPLEMENTATION
from instructseg_ros.model.swin import make_fast

ALL = ['stage1', 'stage2', 'stage3', 'stage4']


def backbones(stages: list[str]) -> tuple[SwinBackbone, SwinBackbone]:
    """Transformers' backbone and ours, with the same weights."""
    config = SwinConfig(
        embed_dim=8,
        depths=[1, 2, 2, 1],
        num_heads=[1, 2, 2, 4],
        window_size=4,
        out_features=stages,
        attn_implementation=IMPLEMENTATION,
    )
    torch.manual_seed(0)
    theirs = SwinBackbone(config).eval()
    scramble(theirs)
    ours = copy.deepcopy(theirs)
    make_fast(ours)
    return theirs, ours


def pictures(size: tuple[int, int], *, frames: int) -> torch.Tensor:
    return torch.randn(frames, 3, *size, generator=torch.Generator().manual_seed(1))


def pairs(
    theirs: SwinBackbone, ours: SwinBackbone, x: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return zip(ours(x).feature_maps, theirs(x).feature_maps, strict=True)


@torch.no_grad()
@pytest.mark.parametrize('stages', [ALL, ['stage2', 'stage4']])
@pytest.mark.parametrize('frames', [1, 2])
@pytest.mark.parametrize('size', [(64, 64), (72, 100), (33, 46)])
def test_maps_are_those_of_transformers(
    size: tuple[int, int], frames: int, stages: list[str]
) -> None:
    theirs, ours = backbones(stages)
    for mine, its in pairs(theirs, ours, pictures(size, frames=frames)):
        torch.testing.assert_close(mine, its, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize('frames', [1, 2])
def test_of_a_map_channels_lie_last_and_convolutions_can_tell(frames: int) -> None:
    _, ours = backbones(ALL)
    for x in ours(pictures((64, 64), frames=frames)).feature_maps:
        assert x.stride() == x.contiguous(memory_format=torch.channels_last).stride()
        # What a batch of one has for its strides decides on the layout of what is made of it.
        made = nn.functional.conv2d(x, x.new_ones(2, x.shape[1], 1, 1))
        assert made.stride(1) == 1


def test_gradients_are_those_of_transformers() -> None:
    theirs, ours = backbones(ALL)
    x = pictures((40, 52), frames=2)
    for mine, its in pairs(theirs, ours, x):
        torch.testing.assert_close(mine, its)
    for backbone in (theirs, ours):
        sum(each.square().mean() for each in backbone(x).feature_maps).backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad)
