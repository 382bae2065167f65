from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_start import Start

from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.research.data import image_folder as folder
from instructseg_ros.research.training.examples import Batch, ExampleConfig, ExampleMaker
from instructseg_ros.research.training.recipe import Recipe, SourceConfig
from instructseg_ros.research.training.smoke import read_curves
from instructseg_ros.research.training.train import train
from instructseg_ros.research.training.trainer import LossOutput
from instructseg_ros.research.training.validation import Figures, overlap_of, read_record


def figures(step: int = 1, overlap: float = 0.5, loss: float = 1.0) -> Figures:
    return Figures(step=step, gIoU=overlap, loss=loss, samples=4)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder.make_sample(tmp_path / 'data', 0)
    return tmp_path / 'data'


@pytest.fixture
def recipe(start: Start) -> Recipe:
    return dataclasses.replace(
        start.recipe,
        sources=(SourceConfig(sets=('folder',)),),
        batch=2,
        steps=6,
        validate_every=2,
        save_every=100,
    )


def weights(model: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(model / 'model.safetensors'))


def test_the_val_split_is_measured_during_a_training_and_logged(
    start: Start, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    trainer = train(
        dataclasses.replace(recipe, steps=5), start.model, {'folder': data}, tmp_path / 'out'
    )
    curves = read_curves(tmp_path / 'out')
    assert [step for step, _ in curves['validation/gIoU']] == [2, 4, 5]
    assert [step for step, _ in curves['validation/loss']] == [2, 4, 5]
    assert trainer.record is not None and trainer.record.newest.samples == 7
    assert trainer.record == read_record(tmp_path / 'out' / 'validation.json')


def test_the_model_is_that_of_the_best_measurement_and_its_checkpoint_is_kept(
    start: Start, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'out'
    train(recipe, start.model, {'folder': data}, out, until=2)
    file = out / 'validation.json'
    record = json.loads(file.read_text())
    assert record['best']['step'] == 2
    record['best']['gIoU'] = 1.5  # none of those that follow is better
    file.write_text(json.dumps(record))
    train(dataclasses.replace(recipe, save_every=1), start.model, {'folder': data}, out)
    names = sorted(each.name for each in (out / 'checkpoints').iterdir())
    assert names == ['step_0000002', 'step_0000005', 'step_0000006']
    # After its second step a training that measures nothing has the same weights.
    plain = dataclasses.replace(recipe, validate_every=0)
    trainer = train(plain, start.model, {'folder': data}, tmp_path / 'plain', until=2)
    learner = trainer.trained_model()
    assert learner is not None
    expected = learner.model.mask_decoder.state_dict()
    mine = weights(out / 'model')
    for name, value in expected.items():
        assert torch.equal(mine[f'mask_decoder.{name}'], value), name


def test_a_training_that_stopped_measures_as_if_it_had_not(
    start: Start, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    for until in (3, None):
        train(recipe, start.model, {'folder': data}, tmp_path / 'twice', until=until)
    train(recipe, start.model, {'folder': data}, tmp_path / 'once')
    twice, once = (read_record(tmp_path / name / 'validation.json') for name in ('twice', 'once'))
    assert twice == once
    mine, theirs = weights(tmp_path / 'twice' / 'model'), weights(tmp_path / 'once' / 'model')
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_without_a_val_split_the_last_model_is_kept_and_it_is_said(
    start: Start, recipe: Recipe, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(data / 'val')
    with caplog.at_level(logging.WARNING):
        trainer = train(recipe, start.model, {'folder': data}, tmp_path / 'out')
    assert 'there is no val split' in caplog.text and trainer.record is None
    assert (tmp_path / 'out' / 'model').is_dir()
    assert not (tmp_path / 'out' / 'validation.json').exists()


def test_a_broken_picture_of_the_val_split_is_named_and_another_taken(
    start: Start, recipe: Recipe, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (data / 'val' / 'images' / '1.jpg').write_bytes(b'')
    with caplog.at_level(logging.WARNING):
        trainer = train(recipe, start.model, {'folder': data}, tmp_path / 'out', until=2)
    assert '1.jpg' in caplog.text and trainer.record is not None


def test_where_the_best_checkpoint_was_removed_the_best_is_chosen_anew(
    start: Start, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'out'
    train(recipe, start.model, {'folder': data}, out, until=2)
    shutil.rmtree(out / 'checkpoints')
    trainer = train(recipe, start.model, {'folder': data}, out)
    assert trainer.record is not None and trainer.record.newest.step == 6
    assert (out / 'checkpoints' / f'step_{trainer.record.best.step:07}').is_dir()


def test_a_damaged_record_names_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / 'validation.json'
    file.write_text('{"best": 3}')
    with pytest.raises(ValueError, match=r'validation\.json is damaged .*: remove it'):
        read_record(file)


def test_better_is_more_overlap_then_less_loss_and_never_nan() -> None:
    assert figures().better_than(None)
    assert figures(overlap=0.6, loss=9).better_than(figures())
    assert figures(loss=0.9).better_than(figures())
    assert not figures().better_than(figures())
    assert not figures(overlap=0.4, loss=0).better_than(figures())
    assert not figures(loss=float('nan')).better_than(figures())
    assert figures().better_than(figures(loss=float('nan')))
    assert not figures(loss=float('nan')).better_than(figures(loss=float('inf')))


@pytest.mark.parametrize(
    ('present', 'answered', 'score', 'overlap'),
    [
        (True, True, 9.0, 1.0),  # found
        (True, True, -9.0, 0.0),  # missed
        (False, True, 9.0, 0.0),  # found what is not there
        (False, True, -9.0, 1.0),  # said that it is not there
        (False, False, 9.0, 1.0),  # a mask without pixels says so too
        (True, True, float('nan'), 0.0),
    ],
)
def test_the_answer_to_a_sample_is_what_a_robot_would_get(
    start: Start, data: Path, present: bool, answered: bool, score: float, overlap: float
) -> None:
    maker = ExampleMaker(InstructSegProcessor.from_pretrained(start.model), ExampleConfig())
    samples = folder.read(data, 'val').samples
    batch: Batch = maker.batch([maker.make(samples[0 if present else -1], 0)])
    truth = batch.targets[0].any(dim=0)
    where = truth if present else torch.ones_like(truth)
    masks = (
        (where.float() * 40 - 20)[None, None]
        if answered
        else torch.full((1, 1, *truth.shape), -20.0)
    )
    lesson = LossOutput(loss=torch.zeros(()), parts={}, masks=masks, scores=torch.tensor([[score]]))
    assert overlap_of(batch, lesson, 0.5) == overlap
