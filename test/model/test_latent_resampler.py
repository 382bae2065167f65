from __future__ import annotations

import pytest
import torch
from small_models import scramble
from torch.nn import functional

from instructseg_ros.model.perceiver import LatentAttention, LatentResampler

WIDTH, HEADS, HEAD_DIM = 12, 3, 5


@pytest.fixture
def resampler() -> LatentResampler:
    torch.manual_seed(0)
    module = LatentResampler(WIDTH, 2, HEADS, HEAD_DIM)
    scramble(module)
    return module


def by_hand(layer: LatentAttention, latents: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Attention of one head after the other on [memory ; latents], for a batch of one."""
    mine = layer.norm_latents(latents)[0]
    source = torch.cat([layer.norm_media(memory)[0], mine])
    query = mine @ layer.to_q.weight.T
    key, value = (source @ weight.T for weight in layer.to_kv.weight.chunk(2))
    heads = []
    for head in range(HEADS):
        part = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
        weights = (query[:, part] @ key[:, part].T / HEAD_DIM**0.5).softmax(dim=-1)
        heads.append(weights @ value[:, part])
    return torch.cat(heads, dim=-1)[None] @ layer.to_out.weight.T


def inputs(batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, 4, WIDTH, generator=generator),
        torch.randn(batch, 7, WIDTH, generator=generator),
    )


def test_latents_attend_to_the_memory_and_to_themselves(resampler: LatentResampler) -> None:
    latents, memory = inputs()
    expected = latents
    for attention, feed_forward in resampler.layers:
        expected = expected + by_hand(attention, expected, memory)
        norm, up, _, down = feed_forward
        expected = expected + down(functional.gelu(up(norm(expected))))
    expected = resampler.norm(expected)
    assert torch.allclose(resampler(latents, memory), expected, atol=1e-5)


def test_training_and_inference_attend_alike(resampler: LatentResampler) -> None:
    latents, memory = inputs(2)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[0, 3:] = False
    trained = resampler(latents, memory, memory, mask)
    with torch.no_grad():
        assert torch.allclose(resampler(latents, memory, memory, mask), trained, atol=1e-5)


@torch.no_grad()
def test_masked_memory_is_as_if_it_were_not_there(resampler: LatentResampler) -> None:
    latents, memory = inputs(2)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[:, 5:] = False
    expected = resampler(latents, memory, memory[:, :5])
    assert torch.allclose(resampler(latents, memory, memory, mask), expected, atol=1e-5)


@torch.no_grad()
def test_latents_without_any_memory_read_themselves(resampler: LatentResampler) -> None:
    latents, memory = inputs()
    nothing = memory[:, :0]
    out = resampler(latents, nothing, memory, torch.zeros(1, 7, dtype=torch.bool))
    assert out.isfinite().all()
    assert torch.allclose(out, resampler(latents, nothing), atol=1e-5)


@torch.no_grad()
def test_own_memory_is_read_like_shared_memory(resampler: LatentResampler) -> None:
    latents, memory = inputs()
    split = resampler(latents, memory[:, :3], memory[:, 3:])
    assert torch.allclose(split, resampler(latents, memory), atol=1e-5)


@torch.no_grad()
def test_rows_that_share_a_memory_are_as_if_each_had_its_copy(resampler: LatentResampler) -> None:
    latents, own = inputs(4)
    memory = own[:2]
    shared = resampler(latents, memory, own)
    copied = resampler(latents, memory.repeat_interleave(2, dim=0), own)
    assert torch.allclose(shared, copied, atol=1e-5)


def test_no_projection_has_a_bias(resampler: LatentResampler) -> None:
    biases = [name for name, _ in resampler.named_parameters() if name.endswith('bias')]
    norms = [
        name for name, module in resampler.named_modules() if isinstance(module, torch.nn.LayerNorm)
    ]
    assert {name.removesuffix('.bias') for name in biases} == set(norms)
