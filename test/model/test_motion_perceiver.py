from __future__ import annotations

import pytest
import torch
from small_models import compact_config, scramble

from instructseg_ros.model.perceiver import ImageTokenFusion, MotionPerceiver

SIDE, WIDTH, FRAMES = 4, 40, 2


@pytest.fixture
def perceiver() -> MotionPerceiver:
    """One layer of four heads: two for each of two reference frames."""
    torch.manual_seed(0)
    module = MotionPerceiver(compact_config())
    scramble(module)
    return module


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    key = torch.randn(1, SIDE**2, WIDTH, generator=generator)
    references = torch.randn(1, FRAMES, SIDE**2, WIDTH, generator=generator)
    return key, references.requires_grad_()


def influence(perceiver: MotionPerceiver, cell: int) -> torch.Tensor:
    """(frames, cells) how much each cell of each reference frame matters to a cell's motion."""
    key, references = tokens()
    perceiver(key, references)[0, cell].square().sum().backward()
    return references.grad[0].abs().sum(dim=-1)


@pytest.mark.parametrize('cell', [0, 3, 5, 14])
def test_a_cell_reads_reference_frames_only_nearby(perceiver: MotionPerceiver, cell: int) -> None:
    index = torch.arange(SIDE**2)
    rows = (index // SIDE - cell // SIDE).abs()
    columns = (index % SIDE - cell % SIDE).abs()
    near = torch.maximum(rows, columns) <= 1
    assert ((influence(perceiver, cell) > 0) == near).all()


@pytest.mark.parametrize('frame', [0, 1])
def test_a_head_reads_only_its_own_frame(perceiver: MotionPerceiver, frame: int) -> None:
    others = slice(WIDTH // 2, None) if frame == 0 else slice(None, WIDTH // 2)
    with torch.no_grad():
        perceiver.layers[0].to_out.weight[:, others] = 0
    felt = influence(perceiver, 5).sum(dim=-1)
    assert felt[frame] > 0 and felt[1 - frame] == 0


@torch.no_grad()
def test_motion_does_not_depend_on_the_batch(perceiver: MotionPerceiver) -> None:
    key, references = tokens()
    both = perceiver(torch.cat([key, -key]), torch.cat([references, references.flip(1)]))
    assert both.shape == (2, SIDE**2, WIDTH)
    assert torch.allclose(both[:1], perceiver(key, references), atol=1e-5)
    assert torch.allclose(both[1:], perceiver(-key, references.flip(1)), atol=1e-5)


def test_a_model_that_has_answered_can_still_be_trained() -> None:
    config = compact_config()
    config.vision_config.image_size = 48  # nine cells, as in no other test
    perceiver = MotionPerceiver(config)
    key, references = torch.randn(1, 9, WIDTH), torch.randn(1, FRAMES, 9, WIDTH)
    with torch.inference_mode():
        perceiver(key, references)
    perceiver(key, references).sum().backward()
    assert perceiver.position.grad is not None


@torch.no_grad()
def test_the_same_appearance_at_another_place_is_another_image_token() -> None:
    torch.manual_seed(0)
    fusion = ImageTokenFusion(compact_config())
    same = torch.ones(1, SIDE**2, WIDTH)
    fused = fusion(same, same)[0]
    assert fused.shape == (SIDE**2, WIDTH)
    apart = torch.cdist(fused, fused) + torch.eye(SIDE**2)
    assert apart.min() > 0.1


@torch.no_grad()
def test_neither_appearance_nor_motion_drowns_the_other() -> None:
    torch.manual_seed(0)
    fusion = ImageTokenFusion(compact_config())
    generator = torch.Generator().manual_seed(0)
    loud = 1e4 * torch.randn(1, SIDE**2, WIDTH, generator=generator)
    faint = torch.randn(1, SIDE**2, WIDTH, generator=generator)
    change = fusion(loud, faint) - fusion(loud, -faint)
    assert change.square().mean() > 0.05
