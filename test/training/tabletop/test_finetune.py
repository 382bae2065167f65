from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.training.tabletop.finetune import FinetuneStage
from instructseg_ros.training.tabletop.language import LanguageStage
from instructseg_ros.training.tabletop.scenes import SceneStore

INDICES = np.array([1, 3, 6])


@pytest.fixture
def stage(store: SceneStore, taught_model: InstructSegModel) -> FinetuneStage:
    config = taught_model.config
    shape = (store.shape.scenes, config.image_tokens, config.hidden_size)
    tokens, motion = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float16)
    language = LanguageStage(taught_model, store, tokens, motion)
    language.instructions = 3
    return FinetuneStage(taught_model, language, store)


def test_a_step_teaches_the_pixel_branch_and_everything_after_it(stage: FinetuneStage) -> None:
    stage.train()
    with torch.autocast('cpu', torch.bfloat16):
        loss, figures = stage.loss(INDICES, np.random.default_rng(0))
    assert loss.isfinite() and all(np.isfinite(value) for value in figures.values())
    loss.backward()
    assert [name for name, p in stage.named_parameters() if p.grad is None] == []
    names = {name.split('.')[0] for name, _ in stage.named_parameters()}
    assert names == {
        'language', 'seg_query_projector', 'text_fusion', 'mask_decoder', 'pixel_branch',
    }  # fmt: skip


def test_small_batches_leave_the_statistics_of_the_pixel_branch_alone(
    stage: FinetuneStage,
) -> None:
    before = {name: value.clone() for name, value in stage.pixel_branch.named_buffers()}
    stage.train().loss(INDICES, np.random.default_rng(0))
    modules = stage.pixel_branch.modules()
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)
    assert stage.training and stage.mask_decoder.training
    for name, value in stage.pixel_branch.named_buffers():
        assert torch.equal(value, before[name]), name
