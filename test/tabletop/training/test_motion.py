from __future__ import annotations

import numpy as np
import pytest
import torch

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.tabletop.training.encoder_stages import MotionStage
from instructseg_ros.tabletop.training.scene_store import MOTION, SceneStore

INDICES = np.array([1, 2, 3, 5])


@pytest.fixture
def stage(store: SceneStore, taught_model: InstructSegModel) -> MotionStage:
    config = taught_model.config
    shape = (store.shape.scenes, 3, config.image_tokens, config.hidden_size)
    tokens = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    return MotionStage(taught_model, store, tokens)


def test_three_quarters_of_the_scenes_of_a_batch_have_something_that_moves(
    stage: MotionStage, store: SceneStore
) -> None:
    moves = (store.objects[:, :, MOTION] > 0).any(axis=1)
    for seed in range(5):
        drawn = stage.draw(np.random.default_rng(seed), 8)
        assert len(set(drawn.tolist())) == 8
        assert moves[drawn].sum() == 6


def test_a_step_teaches_the_perceiver_alone(stage: MotionStage) -> None:
    output = stage(INDICES, np.random.default_rng(0))
    assert output.loss.isfinite() and 0 <= output.parts['direction'] <= 1
    output.loss.backward()
    assert [name for name, p in stage.named_parameters() if p.grad is None] == []
    assert {name.split('.')[0] for name, _ in stage.named_parameters()} == {'perceiver', 'head'}


def test_the_perceiver_learns_what_moved(stage: MotionStage) -> None:
    optimizer = torch.optim.Adam(stage.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        loss = stage(INDICES, np.random.default_rng(0)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_the_augmentation_does_not_change_the_store(stage: MotionStage, store: SceneStore) -> None:
    before = np.array(store.objects[:])
    losses = {stage(INDICES, np.random.default_rng(seed)).loss.item() for seed in range(6)}
    assert len(losses) > 1  # which scenes lose their reference frames is drawn
    assert np.array_equal(store.objects, before)
