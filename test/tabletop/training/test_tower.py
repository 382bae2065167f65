from __future__ import annotations

import numpy as np
import torch

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.tabletop.training.encoder_stages import TowerStage
from instructseg_ros.tabletop.training.scene_store import SceneStore

INDICES = np.array([1, 2, 6, 7])


def test_a_step_teaches_tower_and_projector(
    store: SceneStore, taught_model: InstructSegModel
) -> None:
    stage = TowerStage(taught_model, store).train()
    with torch.autocast('cpu', torch.bfloat16):
        output = stage(INDICES, np.random.default_rng(0))
    assert output.loss.isfinite()
    assert all(value.isfinite() for value in output.parts.values())
    assert all(0 <= output.parts[name] <= 1 for name in ('category', 'color', 'size'))
    output.loss.backward()
    assert [name for name, p in stage.named_parameters() if p.grad is None] == []
    taught = {name.split('.')[0] for name, _ in stage.named_parameters()}
    assert taught == {'tower', 'projector', 'centre_head', 'cover_head'}


def test_the_tower_learns_what_lies_where(
    store: SceneStore, taught_model: InstructSegModel
) -> None:
    stage = TowerStage(taught_model, store).train()
    optimizer = torch.optim.Adam(stage.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        loss = stage(INDICES, np.random.default_rng(0)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_same_seeds_give_the_same_loss(
    store: SceneStore, taught_model: InstructSegModel
) -> None:
    stage = TowerStage(taught_model, store).eval()

    def loss() -> torch.Tensor:
        torch.manual_seed(4)
        output: torch.Tensor = stage(INDICES, np.random.default_rng(5)).loss
        return output

    assert torch.equal(loss(), loss())
