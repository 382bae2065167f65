"""The whole training pipeline in small, once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lock_holder import lock_holder
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_scenes import taught

from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.tabletop.instructions import vocabulary
from instructseg_ros.tabletop.training.stages import LATER_STAGES, STAGES, TabletopTraining
from instructseg_ros.tabletop.training.training_config import RECIPES, SMOKE, Recipe
from instructseg_ros.video.run_folder import LockError

EMBEDDINGS = 'language_model.embed_tokens.weight'


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the smoke recipe was trained."""
    folder = tmp_path_factory.mktemp('training')
    TabletopTraining(folder, SMOKE, processes=1).run()
    return folder


def test_the_trained_model_answers(folder: Path) -> None:
    segmenter = Segmenter.from_pretrained(str(folder / 'model'), device='cpu')
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    references = segmenter.encode([image]) * segmenter.reference_frames
    prediction = segmenter.segment(image, 'the red mug that is moving left', references)
    assert prediction.mask.shape == (120, 160)
    assert 0 <= prediction.score <= 1
    assert 0.01 <= segmenter.threshold <= 0.99


def test_the_trained_model_knows_the_words_of_the_tabletop(folder: Path) -> None:
    processor = InstructSegProcessor.from_pretrained(folder / 'model')
    prompt = processor.prompt([[' '.join(vocabulary())]])
    assert not (prompt.input_ids == 1).any()


def test_every_stage_leaves_its_state(folder: Path) -> None:
    for stage in STAGES:
        with safe_open(folder / f'{stage}.safetensors', 'pt') as opened:
            assert int(opened.metadata()['step']) == getattr(SMOKE, stage).steps
    assert list(folder.glob('*.partial')) == []


def test_the_saved_model_is_the_moving_average_of_the_last_stage(folder: Path) -> None:
    parts = {
        'average.tower.tower.': 'vision_tower.',
        'average.perceiver.': 'perceiver.',
        'average.pixel_branch.': 'pixel_branch.',
        'average.mask_decoder.': 'mask_decoder.',
        'average.language.language_model.': 'language_model.',
    }
    model = load_file(folder / 'model' / 'model.safetensors')
    state = load_file(folder / 'finetune.safetensors')
    for kept, saved in parts.items():
        names = [name for name in state if name.startswith(kept)]
        assert names
        for name in names:
            assert torch.equal(model[name.replace(kept, saved)], state[name]), name


def test_a_stage_that_another_process_trains_is_refused(folder: Path) -> None:
    with lock_holder(folder, name='.tower.lock') as (holder, _):
        TabletopTraining(folder, SMOKE, processes=1, stages=['pixels']).run()  # may go on beside it
        with pytest.raises(LockError, match=f'process {holder.pid} on '):
            TabletopTraining(folder, SMOKE, processes=1, stages=['tower']).run()


def test_running_again_trains_nothing_anew(folder: Path) -> None:
    files = [folder / f'{stage}.safetensors' for stage in STAGES]
    before = [file.read_bytes() for file in files]
    TabletopTraining(folder, SMOKE, processes=1, stages=['language']).run()
    assert [file.read_bytes() for file in files] == before


def test_a_model_that_is_there_is_trained_on(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / 'scenes', tmp_path / 'scenes')
    start = folder / 'model'
    TabletopTraining(tmp_path, SMOKE, processes=1, start=str(start)).run()
    assert {file.stem for file in tmp_path.glob('*.safetensors')} == set(LATER_STAGES)
    before = load_file(start / 'model.safetensors')
    heads = load_file(tmp_path / 'heads.safetensors')
    tower = load_file(tmp_path / 'tower.safetensors')
    after = load_file(tmp_path / 'model' / 'model.safetensors')
    assert set(after) == set(before)
    for name in ('embeddings.position_embedding.weight', 'encoder.layers.0.mlp.fc1.weight'):
        was = before[f'vision_tower.{name}']
        assert torch.equal(heads[f'module.tower.tower.{name}'], was)
        assert not torch.equal(tower[f'module.tower.{name}'], was)
        assert not torch.equal(after[f'vision_tower.{name}'], was)


def test_only_a_model_of_the_same_words_is_trained_on(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder / 'model', tmp_path / 'other'))
    text = (other / 'tokenizer.json').read_text()
    (other / 'tokenizer.json').write_text(text.replace('"mug"', '"gum"'))
    with pytest.raises(ValueError, match='other words'):
        TabletopTraining(tmp_path / 'run', SMOKE, processes=1, start=str(other))


def test_only_a_model_of_the_same_shape_is_trained_on(tmp_path: Path) -> None:
    model, processor = taught()
    model.save_pretrained(tmp_path / 'other')
    processor.save_pretrained(tmp_path / 'other')
    with pytest.raises(ValueError, match='/other has another shape than the embedded'):
        TabletopTraining(tmp_path / 'run', SMOKE, processes=1, start=str(tmp_path / 'other'))


def test_a_model_that_knows_fewer_words_keeps_what_they_mean(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder / 'model', tmp_path / 'other'))
    _forget(other, 'mug')
    shutil.copytree(folder / 'scenes', tmp_path / 'run' / 'scenes')
    training = TabletopTraining(tmp_path / 'run', SMOKE, processes=1, start=str(other))
    words = training.processor.tokenizer.get_vocab()
    before = load_file(folder / 'model' / 'model.safetensors')[EMBEDDINGS]
    after = training.model.get_input_embeddings().weight
    known = [row for word, row in words.items() if word != 'mug']
    assert torch.equal(after[known], before[known])
    assert not torch.equal(after[words['mug']], before[words['mug']])


def _forget(model: Path, word: str) -> None:
    """Take one word out of a model's vocabulary and embeddings."""
    description = json.loads((model / 'tokenizer.json').read_text())
    words = description['model']['vocab']
    gone = words.pop(word)
    description['model']['vocab'] = {w: row - (row > gone) for w, row in words.items()}
    (model / 'tokenizer.json').write_text(json.dumps(description))
    weights = load_file(model / 'model.safetensors')
    table = weights[EMBEDDINGS]
    weights[EMBEDDINGS] = torch.cat([table[:gone], table[gone + 1 :]])
    save_file(weights, model / 'model.safetensors', {'format': 'pt'})
    config = json.loads((model / 'config.json').read_text())
    config['text_config']['vocab_size'] -= 1
    (model / 'config.json').write_text(json.dumps(config))


def test_stages_are_those_of_the_training(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown stages \['heads'\]: choose from tower"):
        TabletopTraining(folder, SMOKE, processes=1, stages=['heads'])


def test_a_folder_of_another_recipe_is_left_alone(folder: Path) -> None:
    with pytest.raises(ValueError, match='other scenes'):
        TabletopTraining(folder, replace(SMOKE, scenes=17), processes=1)


@pytest.mark.parametrize('recipe', RECIPES.values(), ids=RECIPES)
def test_a_recipe_has_enough_scenes_for_its_batches(recipe: Recipe) -> None:
    assert recipe.joint_scenes <= recipe.scenes
    for stage in STAGES:
        schedule = getattr(recipe, stage)
        assert schedule.batch <= recipe.joint_scenes
        assert schedule.warmup < schedule.steps


def test_a_stage_waits_for_those_that_it_needs(folder: Path, tmp_path: Path) -> None:
    longer = replace(SMOKE, tower=replace(SMOKE.tower, steps=SMOKE.tower.steps + 1))
    copy = Path(shutil.copytree(folder, tmp_path / 'run'))
    training = TabletopTraining(copy, longer, processes=1, stages=['motion'])
    with pytest.raises(ValueError, match='motion needs stage tower'):
        training.run()
