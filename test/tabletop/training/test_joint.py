from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.tabletop.training.joint_stages import JointStage
from instructseg_ros.tabletop.training.language_stage import LanguageStage
from instructseg_ros.tabletop.training.pixel_stage import cache_pixels
from instructseg_ros.tabletop.training.scene_store import SceneStore

INDICES = np.array([1, 3, 6])


@pytest.fixture
def stage(filled: Path, tmp_path: Path, taught_model: InstructSegModel) -> JointStage:
    store = SceneStore.open(Path(shutil.copytree(filled, tmp_path / 'scenes')))
    config = taught_model.config
    shape = (store.shape.scenes, config.image_tokens, config.hidden_size)
    tokens, motion = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float16)
    language = LanguageStage(taught_model, store, tokens, motion)
    language.instructions = 3
    return JointStage(taught_model, language, store, features=cache_pixels(taught_model, store, 8))


def test_a_step_teaches_everything_after_the_encoders(stage: JointStage) -> None:
    output = stage(INDICES, np.random.default_rng(0))
    assert output.loss.isfinite()
    assert all(value.isfinite() for value in output.parts.values())
    assert {'pointer', 'grounding', 'dice', 'present'} <= set(output.parts)
    output.loss.backward()
    assert [name for name, p in stage.named_parameters() if p.grad is None] == []
    names = {name.split('.')[0] for name, _ in stage.named_parameters()}
    assert names == {'language', 'seg_query_projector', 'text_fusion', 'mask_decoder'}


def test_masks_and_scores_are_learnt(stage: JointStage) -> None:
    optimizer = torch.optim.Adam(stage.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = stage(INDICES, np.random.default_rng(2)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]
