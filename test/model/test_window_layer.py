"""Layers of Swin that look windows up answer as transformers' own."""

from __future__ import annotations

import pytest
import torch
from transformers import SwinConfig
from transformers.models.swin.modeling_swin import SwinLayer

from instructseg_ros.model.attention import IMPLEMENTATION
from instructseg_ros.model.swin import WindowLayer, windows_of

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
def test_a_layer_gives_what_transformers_gives(
    size: tuple[int, int], shift: int, frames: int
) -> None:
    theirs, ours = layers(size, shift)
    states = tokens(size, frames=frames)
    with torch.no_grad():
        expected = theirs(states, size)[0]
        torch.testing.assert_close(ours(states, size)[0], expected, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_transformers() -> None:
    theirs, ours = layers((9, 11), 2)
    for layer in (theirs, ours):
        layer(tokens((9, 11), frames=2), (9, 11))[0].square().mean().backward()
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)


@pytest.mark.parametrize('shift', [0, 2])
def test_every_token_is_in_one_window_and_only_padding_besides(shift: int) -> None:
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
