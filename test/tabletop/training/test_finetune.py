from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.tabletop.training.encoder_stages import TowerStage
from instructseg_ros.tabletop.training.joint_stages import FinetuneStage
from instructseg_ros.tabletop.training.language_stage import LanguageStage
from instructseg_ros.tabletop.training.scene_store import SceneStore

INDICES = np.array([1, 3, 6])


@pytest.fixture
def stage(store: SceneStore, taught_model: InstructSegModel) -> FinetuneStage:
    language = LanguageStage(taught_model, store)
    language.instructions = 3
    return FinetuneStage(taught_model, language, TowerStage(taught_model, store), store)


def test_a_step_teaches_the_whole_model(
    stage: FinetuneStage, taught_model: InstructSegModel
) -> None:
    stage.train()
    with torch.autocast('cpu', torch.bfloat16):
        output = stage(INDICES, np.random.default_rng(0))
    assert output.loss.isfinite()
    assert all(value.isfinite() for value in output.parts.values())
    output.loss.backward()
    assert [name for name, p in stage.named_parameters() if p.grad is None] == []
    assert [name for name, p in taught_model.named_parameters() if p.grad is None] == []


def test_heads_are_what_the_model_does_not_keep(
    stage: FinetuneStage, taught_model: InstructSegModel
) -> None:
    heads = {p for head in stage.heads() for p in head.parameters()}
    assert heads == set(stage.parameters()) - set(taught_model.parameters())


def test_small_batches_leave_the_statistics_of_the_encoders_alone(stage: FinetuneStage) -> None:
    before = {name: value.clone() for name, value in stage.named_buffers()}
    stage.train()(INDICES, np.random.default_rng(0))
    norms = [module for module in stage.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)
    assert stage.training and stage.mask_decoder.training
    for name, value in stage.named_buffers():
        assert torch.equal(value, before[name]), name
