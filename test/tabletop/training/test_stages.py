"""The whole training pipeline in small, once."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lock_holder import lock_holder
from safetensors.torch import load_file, save_file
from small_scenes import taught

from instructseg_ros.model.model_files import MANIFEST, check_manifest, write_manifest
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.training.recipe import RecipeError
from instructseg_ros.research.training.trainer import checkpoints, saved_step
from instructseg_ros.tabletop.instructions import vocabulary
from instructseg_ros.tabletop.training.stages import TabletopTraining
from instructseg_ros.tabletop.training.training_config import STAGES, load_tabletop_recipe
from instructseg_ros.tabletop.training.word_vectors import word_vectors
from instructseg_ros.video.run_folder import LockError

SMOKE = load_tabletop_recipe('smoke')
# An existing model needs its auxiliary heads first.
FROM_MODEL = dataclasses.replace(SMOKE, heads=SMOKE.tower)
EMBEDDINGS = 'language_model.embed_tokens.weight'


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the smoke recipe was trained."""
    folder = tmp_path_factory.mktemp('training')
    TabletopTraining(folder, SMOKE, processes=1).run()
    return folder


def state_of(folder: Path, stage: str) -> dict[str, torch.Tensor]:
    """Read the newest checkpoint of a stage."""
    return dict(load_file(checkpoints(folder / stage)[-1] / 'state.safetensors'))


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
    for stage in SMOKE.stages:
        assert saved_step(folder / stage) == SMOKE.stage(stage).steps
        assert [each.name for each in (folder / stage / 'checkpoints').rglob('*')] == [
            'step_0000003',
            'state.safetensors',
        ]


def test_the_saved_model_is_the_moving_average_of_the_last_stage(folder: Path) -> None:
    parts = {
        'average.tower.tower.': 'vision_tower.',
        'average.perceiver.': 'perceiver.',
        'average.pixel_branch.': 'pixel_branch.',
        'average.mask_decoder.': 'mask_decoder.',
        'average.language.language_model.': 'language_model.',
    }
    model = load_file(folder / 'model' / 'model.safetensors')
    state = state_of(folder, 'finetune')
    for kept, saved in parts.items():
        # Embeddings are saved as one table, and trained in two parts.
        names = [n for n in state if n.startswith(kept) and '.parametrizations.' not in n]
        assert names
        for name in names:
            assert torch.equal(model[name.replace(kept, saved)], state[name]), name


def test_the_saved_model_has_checksums(folder: Path) -> None:
    assert (folder / 'model' / MANIFEST).is_file()
    check_manifest(folder / 'model')


def test_a_stage_that_another_process_trains_is_refused(folder: Path) -> None:
    with lock_holder(folder / 'tower') as (holder, _):
        TabletopTraining(folder, SMOKE, processes=1, stages=['pixels']).run()  # may go on beside it
        with pytest.raises(LockError, match=f'process {holder.pid} on '):
            TabletopTraining(folder, SMOKE, processes=1, stages=['tower']).run()


def test_a_finished_stage_is_not_trained_again(folder: Path) -> None:
    files = [checkpoints(folder / stage)[-1] / 'state.safetensors' for stage in SMOKE.stages]
    before = [file.read_bytes() for file in files]
    TabletopTraining(folder, SMOKE, processes=1, stages=['language']).run()
    assert [file.read_bytes() for file in files] == before


def test_an_existing_model_is_trained(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / 'scenes', tmp_path / 'scenes')
    start = folder / 'model'
    TabletopTraining(tmp_path, FROM_MODEL, processes=1, start=str(start)).run()
    assert {file.parent.name for file in tmp_path.glob('*/checkpoints')} == set(STAGES)
    before = load_file(start / 'model.safetensors')
    heads, tower = state_of(tmp_path, 'heads'), state_of(tmp_path, 'tower')
    after = load_file(tmp_path / 'model' / 'model.safetensors')
    assert set(after) == set(before)
    for name in ('embeddings.position_embedding.weight', 'encoder.layers.0.mlp.fc1.weight'):
        was = before[f'vision_tower.{name}']
        assert f'module.tower.tower.{name}' not in heads  # it was frozen
        assert not torch.equal(tower[f'module.tower.{name}'], was)
        assert not torch.equal(after[f'vision_tower.{name}'], was)


def test_a_model_with_other_words_is_refused(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder / 'model', tmp_path / 'other'))
    text = (other / 'tokenizer.json').read_text()
    (other / 'tokenizer.json').write_text(text.replace('"mug"', '"mugg"'))
    write_manifest(other)
    with pytest.raises(ValueError, match='words unknown to the tabletop'):
        TabletopTraining(tmp_path / 'run', SMOKE, processes=1, start=str(other))


def test_a_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    model, processor = taught()
    model.save_pretrained(tmp_path / 'other')
    processor.save_pretrained(tmp_path / 'other')
    with pytest.raises(ValueError, match='/other differs in shape from the embedded'):
        TabletopTraining(tmp_path / 'run', SMOKE, processes=1, start=str(tmp_path / 'other'))


def test_a_model_with_fewer_words_keeps_their_embeddings(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder / 'model', tmp_path / 'other'))
    _forget(other, 'mug')
    write_manifest(other)
    shutil.copytree(folder / 'scenes', tmp_path / 'run' / 'scenes')
    training = TabletopTraining(tmp_path / 'run', SMOKE, processes=1, start=str(other))
    words = training.processor.tokenizer.get_vocab()
    before = load_file(folder / 'model' / 'model.safetensors')[EMBEDDINGS]
    after = training.model.eval().get_input_embeddings().weight
    known = [row for word, row in words.items() if word in word_vectors().trained and word != 'mug']
    assert torch.allclose(after[known], before[known], atol=1e-5)
    assert not torch.allclose(after[words['mug']], before[words['mug']], atol=1e-2)


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


def test_an_unknown_stage_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown stages \['heads'\]: choose from tower"):
        TabletopTraining(folder, SMOKE, processes=1, stages=['heads'])


def test_a_folder_with_other_scenes_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match='different scenes'):
        TabletopTraining(folder, load_tabletop_recipe('smoke', {'scenes': '17'}), processes=1)


@pytest.mark.parametrize('name', ['embedded', 'language', 'polish', 'smoke'])
def test_every_recipe_of_the_package_is_valid(name: str) -> None:
    recipe = load_tabletop_recipe(name)
    for stage in recipe.stages:
        schedule = recipe.stage(stage)
        assert schedule.warmup < schedule.steps


def test_the_recipe_of_the_embedded_model_keeps_its_schedules() -> None:
    recipe = load_tabletop_recipe('embedded')
    assert [recipe.stage(name).steps for name in recipe.stages] == [
        2100,
        900,
        2400,
        2600,
        1200,
        6000,
    ]
    tower = recipe.stage('tower')
    assert tower.learning_rate_at(99) == pytest.approx(2e-3)
    assert tower.learning_rate_at(49) == pytest.approx(1e-3)
    assert tower.learning_rate_at(2100 - 735) == pytest.approx(1e-3)  # half of the decay


@pytest.mark.parametrize(
    ('key', 'value', 'reason'),
    [
        ('joint_scenes', '17', 'at least the largest batch, 8, and at most scenes, 16'),
        ('motion.batch', '64', 'joint_scenes is 16: choose at least the largest batch, 64'),
        ('first_scene', '7', 'first_scene must be at least 1000000: lower seeds are for eval'),
        ('tower.step', '7', r'tower\.step is not a key of a recipe: did you mean steps'),
    ],
)
def test_a_wrong_value_is_named(key: str, value: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        load_tabletop_recipe('smoke', {key: value})


def test_a_training_does_not_resume_with_another_recipe_or_start_model(
    folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / 'run'))
    other = load_tabletop_recipe('smoke', {'pixels.learning_rate': '2e-3'})
    refusal = 'pixels holds a training with learning_rate 0.001, not 0.002: remove it or name'
    for stages in ([], ['joint']):  # trained and loaded
        with pytest.raises(ValueError, match=refusal):
            TabletopTraining(copy, other, processes=1, stages=stages).run()
    start = str(folder / 'model')
    training = TabletopTraining(copy, SMOKE, processes=1, start=start, stages=['tower'])
    with pytest.raises(ValueError, match='tower holds a training with model from scratch with'):
        training.run()


def test_a_stage_waits_for_those_that_it_needs(folder: Path, tmp_path: Path) -> None:
    longer = load_tabletop_recipe('smoke', {'tower.steps': '4'})
    copy = Path(shutil.copytree(folder, tmp_path / 'run'))
    training = TabletopTraining(copy, longer, processes=1, stages=['motion'])
    with pytest.raises(ValueError, match='motion needs stage tower'):
        training.run()
