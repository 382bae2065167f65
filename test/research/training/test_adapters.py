from __future__ import annotations

import dataclasses

import pytest
import torch
from training_start import Start

from instructseg_ros.research.training.recipe import LoraConfig, RecipeError
from instructseg_ros.research.training.train import build_training_model
from instructseg_ros.research.training.training_model import merge_adapters


def test_only_adapters_and_the_named_parts_learn(start: Start) -> None:
    recipe = dataclasses.replace(start.recipe, trained=('mask_decoder',))
    learner = build_training_model(recipe, start.model)
    learning = {name for name, p in learner.named_parameters() if p.requires_grad}
    adapters = {name for name in learning if '.lora_' in name}
    assert adapters and all('.q_proj.' in n or '.v_proj.' in n for n in adapters)
    assert all(name.startswith('model.mask_decoder.') for name in learning - adapters)


def test_merged_adapters_answer_as_they_did_beside_the_weights(start: Start) -> None:
    learner = build_training_model(start.recipe, start.model).eval()
    language = learner.model.language_model
    for name, parameter in language.named_parameters():
        if '.lora_B.' in name:
            torch.nn.init.normal_(parameter, std=0.1)
    embeddings = torch.randn(1, 7, language.config.hidden_size)
    plain = build_training_model(start.recipe, start.model).eval().model.language_model
    with torch.no_grad():
        before = language.prefill(embeddings)[-1]
        merge_adapters(language)
        after = language.prefill(embeddings)[-1]
        assert not torch.allclose(after, plain.prefill(embeddings)[-1])
    torch.testing.assert_close(after, before)
    assert not any('lora' in name for name, _ in language.named_parameters())


def test_without_a_rank_there_are_no_adapters(start: Start) -> None:
    recipe = dataclasses.replace(start.recipe, lora=LoraConfig(rank=0))
    learner = build_training_model(recipe, start.model)
    assert not any('lora' in name for name, _ in learner.named_parameters())


def test_layers_that_the_model_has_not_are_named(start: Start) -> None:
    recipe = dataclasses.replace(start.recipe, lora=LoraConfig(targets=('brain',)))
    with pytest.raises(RecipeError, match=r'lora\.targets: .*brain'):
        build_training_model(recipe, start.model)
