from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from small_models import released_config, scramble

from instructseg_ros.model.perceiver import VideoPerceiver


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def perceiver() -> VideoPerceiver:
    torch.manual_seed(0)
    module = VideoPerceiver(released_config())
    scramble(module)
    return module


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    return (
        torch.randn(2, 16, 40, generator=generator),
        torch.randn(2, 6, 40, generator=generator),
        mask,
    )


def test_a_frame_becomes_a_few_tokens(perceiver: VideoPerceiver) -> None:
    assert perceiver(*inputs()).shape == (2, 3, 40)


def test_frames_do_not_look_at_each_other(perceiver: VideoPerceiver) -> None:
    frames, words, mask = inputs()
    alone = perceiver(frames[1:], words[1:], mask[1:])
    assert torch.allclose(perceiver(frames, words, mask)[1:], alone, atol=1e-5)


def test_words_of_the_padding_are_not_read(perceiver: VideoPerceiver) -> None:
    frames, words, mask = inputs()
    noise = torch.where(mask[..., None], words, 100.0)
    assert torch.allclose(perceiver(frames, noise, mask), perceiver(frames, words, mask), atol=1e-5)
    shorter = perceiver(frames[:1], words[:1, :4], mask[:1, :4])
    assert torch.allclose(perceiver(frames, words, mask)[:1], shorter, atol=1e-5)


def test_the_words_of_the_instruction_guide_the_perceiver(perceiver: VideoPerceiver) -> None:
    frames, words, mask = inputs()
    assert not torch.allclose(perceiver(frames, words, mask), perceiver(frames, -words, mask))


def test_there_is_no_position_inside_a_frame(perceiver: VideoPerceiver) -> None:
    frames, words, mask = inputs()
    shuffled = frames[:, torch.randperm(16, generator=torch.Generator().manual_seed(0))]
    assert torch.allclose(
        perceiver(shuffled, words, mask), perceiver(frames, words, mask), atol=1e-5
    )
