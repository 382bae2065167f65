"""Swin without copies computes what transformers' Swin does."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from small_models import scramble
from torch import nn
from transformers import SwinConfig
from transformers.models.swin.modeling_swin import SwinBackbone, SwinLayer

from instructseg_ros.model.attention import IMPLEMENTATION
from instructseg_ros.model.swin import WindowLayer, make_fast, windows_of

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
        # The strides of a batch of one decide the layout of the results.
        made = nn.functional.conv2d(x, x.new_ones(2, x.shape[1], 1, 1))
        assert made.stride(1) == 1


def test_gradients_of_the_backbone_are_those_of_transformers() -> None:
    theirs, ours = backbones(ALL)
    x = pictures((40, 52), frames=2)
    for mine, its in pairs(theirs, ours, x):
        torch.testing.assert_close(mine, its)
    for backbone in (theirs, ours):
        sum(each.square().mean() for each in backbone(x).feature_maps).backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad)


SIZES = [(8, 8), (9, 11), (5, 8), (4, 4), (4, 13)]
CPU = torch.device('cpu')


def layers(size: tuple[int, int], shift: int) -> tuple[SwinLayer, WindowLayer]:
    """Transformers' layer and ours, with the same weights."""
    config = SwinConfig(window_size=4, attn_implementation=IMPLEMENTATION)
    both = []
    for cls in (SwinLayer, WindowLayer):
        torch.manual_seed(3)
        layer = cls(config, 16, size, 2, shift_size=shift).eval()
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        both.append(layer)
    return both[0], both[1]


def tokens(size: tuple[int, int], *, frames: int) -> torch.Tensor:
    torch.manual_seed(4)
    return torch.randn(frames, size[0] * size[1], 16)


@pytest.mark.parametrize('frames', [1, 3])
@pytest.mark.parametrize('shift', [0, 2])
@pytest.mark.parametrize('size', SIZES)
def test_a_layer_gives_the_same_result_as_that_of_transformers(
    size: tuple[int, int], shift: int, frames: int
) -> None:
    theirs, ours = layers(size, shift)
    states = tokens(size, frames=frames)
    with torch.no_grad():
        expected = theirs(states, size)[0]
        torch.testing.assert_close(ours(states, size)[0], expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_a_layer_are_those_of_transformers() -> None:
    theirs, ours = layers((9, 11), 2)
    for layer in (theirs, ours):
        layer(tokens((9, 11), frames=2), (9, 11))[0].square().mean().backward()
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)


@pytest.mark.parametrize('shift', [0, 2])
def test_every_token_is_in_one_window_and_the_rest_is_padding(shift: int) -> None:
    windows = windows_of(9, 11, 4, shift, CPU)
    assert windows.tokens.shape == (9, 16)
    assert torch.equal(windows.tokens.flatten()[windows.cells], torch.arange(99))
    counts = windows.tokens.flatten().bincount()
    assert counts[:99].eq(1).all() and counts[99] == 9 * 16 - 99


def test_only_windows_that_reach_over_the_border_are_masked() -> None:
    assert len(windows_of(8, 12, 4, 0, CPU).masks) == 0
    masks = windows_of(8, 12, 4, 2, CPU).masks
    assert masks.shape == (4, 1, 16, 16)
    assert all((mask < 0).any() and (mask == 0).any() for mask in masks)
