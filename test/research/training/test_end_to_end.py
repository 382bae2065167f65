"""Whole trainings of a tiny model: on the tasks of the paper, killed, and shared by processes."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from benchmark_samples import make_sample
from deadlines import PROCESS_TIMEOUT
from safetensors.torch import load_file
from training_start import SOURCES, Start

from instructseg_ros.cli import main as cli
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.training.recipe import Recipe, RecipeError, SourceConfig, load_recipe
from instructseg_ros.research.training.smoke import Curves, read_curves, smoke, write_tiny_model
from instructseg_ros.research.training.train import build_training_model, train
from instructseg_ros.research.training.validation import read_record

ARGUMENTS = (
    'train',
    '--recipe',
    'smoke',
    '--set',
    SOURCES,
    '--set',
    'lora.dropout=0',
    '--set',
    'residual_dropout=0',
    '--workers',
    '0',
)


def command(start: Start, output: Path, *arguments: str, processes: int = 1) -> list[str]:
    data = [f'--data={name}={folder}' for name, folder in start.folders.items()]
    launcher = [sys.executable, '-m', 'instructseg_ros.cli.main']
    if processes > 1:
        launcher = [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--standalone',
            '--nproc_per_node',
            str(processes),
            '-m',
            'instructseg_ros.cli.main',
        ]
    return [
        *launcher,
        *ARGUMENTS,
        *data,
        *arguments,
        '--model',
        str(start.model),
        '--output',
        str(output),
    ]


def environment() -> dict[str, str]:
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}


def run(arguments: list[str]) -> None:
    subprocess.run(
        arguments, env=environment(), check=True, capture_output=True, timeout=PROCESS_TIMEOUT
    )


def assert_same_curves(mine: Curves, theirs: Curves, relative: float = 1e-4) -> None:
    assert mine.keys() == theirs.keys()
    for name, curve in theirs.items():
        assert [step for step, _ in mine[name]] == [step for step, _ in curve], name
        values = [value for _, value in mine[name]]
        assert values == pytest.approx([value for _, value in curve], rel=relative), name


def test_every_loss_falls_and_exactly_the_trained_weights_change(tmp_path: Path) -> None:
    report = smoke(load_recipe('smoke'), tmp_path)
    assert report.passed, report
    assert set(report.changed) == {*load_recipe('smoke').trained, 'adapters'}
    assert Segmenter.from_pretrained(str(tmp_path / 'model')).reference_frames == 4


@pytest.fixture(scope='module')
def trained(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of fifteen steps that nothing disturbed."""
    output = tmp_path_factory.mktemp('trained')
    arguments = command(start, output, '--set', 'steps=15', '--set', 'save_every=5')
    run(arguments)
    return output


def test_a_killed_training_resumes_with_the_same_results(
    start: Start, trained: Path, tmp_path: Path
) -> None:
    arguments = command(start, tmp_path, '--set', 'steps=15', '--set', 'save_every=5')
    process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PROCESS_TIMEOUT
    while not list(tmp_path.glob('checkpoints/step_0000005')):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'model').exists()
    run(arguments)
    assert_same_curves(read_curves(tmp_path), read_curves(trained))
    mine, theirs = (load_file(each / 'model' / 'model.safetensors') for each in (tmp_path, trained))
    for name, weights in theirs.items():
        assert torch.equal(mine[name], weights), name


def test_two_trainings_in_one_output_are_refused_and_the_first_goes_on(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = command(start, tmp_path, '--set', 'steps=1000000', '--set', 'save_every=1')
    first = subprocess.Popen(endless, env=environment(), stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PROCESS_TIMEOUT
        while not list(tmp_path.glob('checkpoints/step_*')):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        assert cli.main(command(start, tmp_path)[3:]) == 1
        error = capsys.readouterr().err
        assert f'another run (process {first.pid} on ' in error and 'another --output' in error
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    # A lock of a killed process does not block.
    train(dataclasses.replace(start.recipe, steps=1), start.model, start.folders, tmp_path)


@pytest.fixture
def sets(start: Start, tmp_path: Path) -> tuple[Recipe, Path, Path]:
    """A recipe of two steps on own data, and two folders of such data."""
    folders = [tmp_path / name for name in ('one', 'other')]
    for seed, folder in enumerate(folders):
        make_sample('folder', folder, seed)
    sources = (SourceConfig(sets=('folder',)),)
    return dataclasses.replace(start.recipe, sources=sources, steps=2, batch=1), *folders


def test_a_training_does_not_resume_with_other_data_another_model_or_other_settings(
    start: Start, sets: tuple[Recipe, Path, Path], tmp_path: Path
) -> None:
    recipe, one, other = sets
    train(recipe, start.model, {'folder': one}, tmp_path / 'out')
    model = shutil.copytree(start.model, tmp_path / 'start')
    train(recipe, model, {'folder': one}, tmp_path / 'out', until=1)  # the same under another name
    written = (tmp_path / 'out' / 'model' / 'model.safetensors').stat().st_mtime_ns
    write_tiny_model(model, ['others learned other words'])
    slower = dataclasses.replace(recipe, learning_rate=1e-5)
    for settings, begin, data, reason in (
        (recipe, start.model, other, f'data folder {one}, not {other}'),
        (recipe, model, one, f'model {model} with weights'),
        (slower, start.model, one, 'learning_rate 0.003, not 1e-05'),
    ):
        with pytest.raises(ValueError, match='name another --output') as refusal:
            train(settings, begin, {'folder': data}, tmp_path / 'out')
        assert f'holds a training with {reason}' in str(refusal.value)
    lines = (one / 'train' / 'annotations.jsonl').read_text().splitlines()
    (one / 'train' / 'annotations.jsonl').write_text('\n'.join(lines[1:]))
    with pytest.raises(ValueError, match='a training with samples that differ'):
        train(recipe, start.model, {'folder': one}, tmp_path / 'out')
    assert (tmp_path / 'out' / 'model' / 'model.safetensors').stat().st_mtime_ns == written


def test_a_training_resumes_with_more_steps_and_another_rhythm_of_saving_and_measuring(
    start: Start, sets: tuple[Recipe, Path, Path], tmp_path: Path
) -> None:
    recipe, one, _ = sets
    train(recipe, start.model, {'folder': one}, tmp_path / 'out')
    longer = dataclasses.replace(
        recipe,
        steps=3,
        save_every=1,
        save_minutes=1.0,
        log_every=2,
        image_every=2,
        validate_every=1,
        validation_samples=1,
        gradient_checkpointing=True,
    )
    trainer = train(longer, start.model, {'folder': one}, tmp_path / 'out')
    assert trainer.step == 3
    names = sorted(each.name for each in (tmp_path / 'out' / 'checkpoints').iterdir())
    assert names == ['step_0000002', 'step_0000003']


def test_an_attempt_without_a_checkpoint_does_not_bind_the_next_one(
    start: Start, sets: tuple[Recipe, Path, Path], tmp_path: Path
) -> None:
    recipe, one, _ = sets
    wrong = dataclasses.replace(recipe, trained=('brain',))
    with pytest.raises(RecipeError):
        train(wrong, start.model, {'folder': one}, tmp_path / 'out')
    assert train(recipe, start.model, {'folder': one}, tmp_path / 'out', until=1).step == 1


def test_a_smoke_test_that_stopped_resumes(tmp_path: Path) -> None:
    recipe = dataclasses.replace(load_recipe('smoke'), steps=2, batch=1)
    smoke(recipe, tmp_path)
    shutil.rmtree(tmp_path / 'model')
    smoke(recipe, tmp_path)
    assert (tmp_path / 'model').is_dir()


@pytest.mark.parametrize(
    ('data', 'output', 'remedy'),
    [
        ('none', 'output', 'none is not a folder: name the folder of the data set with --data'),
        ('one', 'file', 'is a file: name a folder with --output'),
    ],
)
def test_data_and_output_are_checked_before_the_model_is_loaded(
    data: str,
    output: str,
    remedy: str,
    start: Start,
    sets: tuple[Recipe, Path, Path],
    tmp_path: Path,
) -> None:
    (tmp_path / 'file').write_text('mine')
    with pytest.raises((OSError, ValueError), match=remedy):
        train(sets[0], tmp_path / 'no model', {'folder': tmp_path / data}, tmp_path / output)


@pytest.mark.parametrize('what', ['tabletop', '--smoke'])
def test_a_file_in_place_of_the_output_is_named_with_the_remedy(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').write_text('mine')
    assert cli.main(['train', what, '--output', str(tmp_path / 'file')]) == 1
    assert 'is a file: name a folder with --output' in capsys.readouterr().err


def test_slow_steps_are_saved_by_the_clock(start: Start, tmp_path: Path) -> None:
    recipe = dataclasses.replace(start.recipe, steps=9, save_every=1000, save_minutes=1e-9)
    train(recipe, start.model, start.folders, tmp_path, until=3)
    names = sorted(each.name for each in (tmp_path / 'checkpoints').iterdir())
    assert names == ['step_0000002', 'step_0000003']


def test_two_processes_measure_and_keep_the_best(start: Start, tmp_path: Path) -> None:
    arguments = command(
        start,
        tmp_path,
        '--set',
        'steps=4',
        '--set',
        'batch=2',
        '--set',
        'validate_every=2',
        '--set',
        'validation_samples=5',
        processes=2,
    )
    run(arguments)
    record = read_record(tmp_path / 'validation.json')
    assert record is not None and record.newest.step == 4
    assert record.newest.samples == 6  # three of each process
    assert (tmp_path / 'model').is_dir()


def test_two_processes_train_as_one_with_twice_the_batch(start: Start, tmp_path: Path) -> None:
    alone = dataclasses.replace(start.recipe, steps=10, batch=4)
    train(alone, start.model, start.folders, tmp_path / 'one')
    arguments = command(
        start, tmp_path / 'two', '--set', 'steps=10', '--set', 'batch=2', processes=2
    )
    run(arguments)
    assert_same_curves(read_curves(tmp_path / 'two'), read_curves(tmp_path / 'one'), 1e-3)


def test_accumulated_passes_are_one_update_and_every_source_is_logged(
    start: Start, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(start.recipe, steps=8, batch=2, accumulation=2, log_every=4)
    trainer = train(recipe, start.model, start.folders, tmp_path)
    assert trainer.step == 8
    curves = read_curves(tmp_path)
    assert [step for step, _ in curves['loss']] == [3, 7]
    for source in trainer.mixture.sources:
        assert [step for step, _ in curves[f'{source.name}/loss']] == [3, 7]


def test_without_a_clip_gradients_are_as_large_as_they_are(start: Start, tmp_path: Path) -> None:
    curves = {}
    for clip in (0.0, 1e9):
        recipe = dataclasses.replace(start.recipe, steps=5, clip=clip)
        train(recipe, start.model, start.folders, tmp_path / str(clip))
        curves[clip] = read_curves(tmp_path / str(clip))
    assert_same_curves(curves[0.0], curves[1e9])


def test_activations_may_be_computed_twice(start: Start, tmp_path: Path) -> None:
    curves = []
    for checkpointing in (False, True):
        recipe = dataclasses.replace(start.recipe, steps=5, gradient_checkpointing=checkpointing)
        train(recipe, start.model, start.folders, tmp_path / str(checkpointing))
        curves.append(read_curves(tmp_path / str(checkpointing)))
    assert_same_curves(*curves)


def test_a_broken_image_is_named_and_replaced(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / 'reasonseg'
    shutil.copytree(start.folders['reasonseg'], broken)
    recipe = dataclasses.replace(start.recipe, sources=start.recipe.sources[3:4], steps=2, batch=4)
    for picture in sorted((broken / 'train').glob('*.jpg'))[:1]:
        data = picture.read_bytes()
        picture.write_bytes(data[: len(data) // 2])
    with caplog.at_level(logging.WARNING):
        train(recipe, start.model, {'reasonseg': broken}, tmp_path / 'output')
    assert re.search(r'skipped .*000\.jpg cannot be read as an image', caplog.text)


def test_a_set_without_a_folder_is_named(start: Start, tmp_path: Path) -> None:
    with pytest.raises(DataError, match='name its folder with --data refcoco=DIR'):
        train(start.recipe, start.model, {}, tmp_path)


def test_a_set_that_the_recipe_does_not_name_is_refused(start: Start, tmp_path: Path) -> None:
    with pytest.raises(DataError, match='does not use coco: name it in its `sources`'):
        train(start.recipe, start.model, {**start.folders, 'coco': tmp_path}, tmp_path)


def test_a_set_without_a_training_split_teaches_nothing(start: Start, tmp_path: Path) -> None:
    recipe = dataclasses.replace(start.recipe, sources=(SourceConfig(sets=('vqav2',), share=1),))
    with pytest.raises(DataError, match="vqav2 has no split 'train'; its splits are test-dev, val"):
        train(recipe, start.model, {'vqav2': tmp_path}, tmp_path)


def test_a_finished_smoke_test_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'model').mkdir()
    with pytest.raises(ValueError, match='has a finished training: remove it'):
        smoke(load_recipe('smoke'), tmp_path)


def test_an_unknown_part_of_the_model_is_named(start: Start) -> None:
    recipe = dataclasses.replace(start.recipe, trained=('brain',))
    with pytest.raises(RecipeError, match="no 'brain'; its parts are language_model"):
        build_training_model(recipe, start.model)


def test_the_rate_rises_and_falls() -> None:
    recipe = load_recipe('paper')
    rates = [recipe.learning_rate_at(step) for step in (0, 1499, 2999, 51_500, 99_999)]
    assert rates == pytest.approx([4e-5 / 3000, 2e-5, 4e-5, 2e-5, 0], rel=1e-3, abs=1e-12)
