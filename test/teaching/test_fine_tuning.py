"""Teaching of a tiny model in the released layout, which has no noun finder."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from instructseg_ros.model.model_files import check_manifest
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.data.image_folder import read
from instructseg_ros.research.training.smoke import write_tiny_model
from instructseg_ros.research.training.trainer import checkpoints
from instructseg_ros.teaching import teach
from instructseg_ros.teaching.backgrounds import observe_scenes
from instructseg_ros.teaching.examples import Example, LabelledObject, load_examples
from instructseg_ros.teaching.fine_tuning import WORK, fine_tune
from instructseg_ros.teaching.fine_tuning_data import write_data
from instructseg_ros.teaching.teach import TeachingError
from instructseg_ros.teaching.trainer import Progress

TINY = {
    'precision': 'no',
    'gradient_checkpointing': 'false',
    'batch': '2',
    'criterion.points': '256',
    'validation_samples': '3',
}
fine_tune_quickly = functools.partial(fine_tune, workers=0, composites=1, scenes=2, changes=TINY)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True, scope='module')
def fresh_engine() -> None:
    """Forget the precision that trainings of other test modules chose for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('start')
    write_tiny_model(folder, ['the red stapler', 'all the wrenches'])
    return folder


@pytest.fixture(scope='module')
def examples() -> list[Example]:
    return [_shown(name, seed) for name in ('stapler', 'wrench') for seed in range(3)]


def _shown(name: str, seed: int) -> Example:
    """A colored rectangle that was shown alone."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 130, (120, 160, 3)).astype(np.uint8)
    mask = np.zeros((120, 160), bool)
    left, top = (int(each) for each in rng.integers(10, 60, 2))
    mask[top : top + 30, left : left + (60 if name == 'stapler' else 30)] = True
    image[mask] = (200, 20, 20) if name == 'stapler' else (20, 20, 200)
    objects = (LabelledObject(name=name, mask=mask),)
    return Example(image=image, objects=objects, source=f'{name} {seed}', alone=True)


def _lines(folder: Path) -> Iterator[dict[str, object]]:
    for line in (folder / 'annotations.jsonl').read_text().splitlines():
        yield json.loads(line)


def test_the_data_has_examples_composites_and_scenes_and_is_read_without_a_problem(
    examples: list[Example], tmp_path: Path
) -> None:
    done: list[float] = []
    folder = tmp_path / 'data'
    write_data(examples, folder, composites=2, scenes=6, report=done.append)
    assert done == sorted(done) and done[-1] == 1.0
    for split, least in (('train', 6 + 12), ('val', 6 + 2)):
        reading = read(folder, split)
        assert not reading.problems and not reading.warnings
        assert len(list((folder / split / 'images').iterdir())) >= least
        lines = list(_lines(folder / split))
        assert any(line['mask'] is None for line in lines)
        texts = [text for line in lines for text in line['sentences']]  # type: ignore[attr-defined]
        assert {'all the staplers', 'the red stapler', 'the wrench'} <= {*texts}
    written = (folder / 'train' / 'annotations.jsonl').stat().st_mtime_ns
    write_data(examples, folder, composites=2, scenes=6, report=done.append)
    assert (folder / 'train' / 'annotations.jsonl').stat().st_mtime_ns == written


def test_the_data_is_the_same_each_time(examples: list[Example], tmp_path: Path) -> None:
    for name in ('one', 'two'):
        write_data(examples, tmp_path / name, composites=1, scenes=2, report=lambda done: None)
    one, two = (list(_lines(tmp_path / name / 'train')) for name in ('one', 'two'))
    assert one == two


def test_scenes_that_show_a_taught_object_are_left_out(tmp_path: Path) -> None:
    shown = [dataclasses.replace(_shown('stapler', seed), objects=()) for seed in range(2)]
    categories = {obj.category for seen in observe_scenes(3) for obj in seen.graph}
    example = _shown('stapler', 0)
    objects = tuple(
        LabelledObject(name=name, mask=example.objects[0].mask) for name in sorted(categories)
    )
    taught = [dataclasses.replace(example, objects=objects), *shown]
    write_data(taught, tmp_path / 'data', composites=0, scenes=3, report=lambda done: None)
    assert len(list((tmp_path / 'data' / 'train' / 'images').iterdir())) == len(taught)


def test_objects_that_are_all_cut_off_are_learned_without_composed_pictures(tmp_path: Path) -> None:
    mask = np.zeros((120, 160), bool)
    mask[:40, :40] = True
    objects = (LabelledObject(name='stapler', mask=mask),)
    cut_off = [dataclasses.replace(_shown('stapler', seed), objects=objects) for seed in range(3)]
    write_data(cut_off, tmp_path / 'data', composites=3, scenes=0, report=lambda done: None)
    assert len(list((tmp_path / 'data' / 'train' / 'images').iterdir())) == 3


@pytest.fixture(scope='module')
def taught(
    model: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Progress]]:
    """A model that was taught by `teach`, and the progress that was reported."""
    output = tmp_path_factory.mktemp('taught') / 'model'
    reported: list[Progress] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teach, 'fine_tune', fine_tune_quickly)
        teach.keep_capture(output, 'stapler', examples[:3])
        assert teach.teach(model, examples, output, report=reported.append, steps=4) == output
    return output, reported


def test_a_model_without_noun_finder_is_fine_tuned(
    taught: tuple[Path, list[Progress]], model: Path, examples: list[Example]
) -> None:
    output, reported = taught
    check_manifest(output)
    assert len(load_examples(output / 'examples')) == len(examples)
    assert not (output / WORK).exists() and not (output / '.captured').exists()
    image = examples[0].image
    prediction = Segmenter.from_pretrained(str(output)).segment(image, 'the stapler')
    assert prediction.mask.shape == image.shape[:2]
    before, after = (load_file(each / 'model.safetensors') for each in (model, output))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any('q_proj' in name for name in changed)  # the merged adapters
    stages = [each.stage for each in reported]
    assert stages == sorted(stages, key=['pictures', 'training'].index)
    assert reported[-1].done == 1.0 and reported[-1].iou is not None


def test_a_taught_model_keeps_its_examples_for_the_next_teaching(
    taught: tuple[Path, list[Progress]], examples: list[Example]
) -> None:
    output, _ = taught
    joined = teach.all_examples(output, [_shown('brush', seed) for seed in range(3)])
    assert len(joined) == len(examples) + 3


def test_no_noun_counts_as_known_but_a_name_consists_of_letters(model: Path) -> None:
    teach.check_names(model, ['dog', 'mug', 'torque wrench'])
    with pytest.raises(TeachingError, match='"m8" is no name: use one to four words'):
        teach.check_names(model, ['m8'])


def test_a_fine_tuned_model_cannot_forget(model: Path, tmp_path: Path) -> None:
    with pytest.raises(TeachingError, match='Teach the original model the other names again'):
        teach.forget(model, ['stapler'], tmp_path / 'output', report=lambda progress: None)


class StopAt(list[Progress]):
    """Collects the progress, and raises when a training has done some of its steps."""

    def __init__(self, step: int, steps: int, error: type[BaseException]) -> None:
        super().__init__()
        self._done, self._error = step / steps, error

    def __call__(self, progress: Progress) -> None:
        self.append(progress)
        if progress.stage == 'training' and progress.done == self._done:
            raise self._error


def test_a_killed_teaching_resumes_at_its_checkpoint(
    model: Path, examples: list[Example], tmp_path: Path
) -> None:
    with pytest.raises(KilledError):
        fine_tune_quickly(model, examples, tmp_path, report=StopAt(3, 4, KilledError), steps=4)
    assert checkpoints(tmp_path / WORK / 'run') and not (tmp_path / 'config.json').exists()
    (tmp_path / 'examples').mkdir()  # as after a kill while files were moved
    (tmp_path / 'examples' / 'index.json').write_text('[]')
    reported: list[Progress] = []
    fine_tune_quickly(model, examples, tmp_path, report=reported.append, steps=4)
    assert min(each.done for each in reported if each.stage == 'training') == 3 / 4
    check_manifest(tmp_path)
    assert len(load_examples(tmp_path / 'examples')) == len(examples)


def test_an_interrupted_teaching_keeps_the_best_so_far(
    model: Path, examples: list[Example], tmp_path: Path
) -> None:
    report = StopAt(2, 20, KeyboardInterrupt)
    fine_tune_quickly(model, examples, tmp_path, report=report, steps=20)
    assert report[-1].stage == 'interrupted'
    check_manifest(tmp_path)
    Segmenter.from_pretrained(str(tmp_path))


def test_an_interruption_before_the_first_checkpoint_is_reported(
    model: Path, examples: list[Example], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = StopAt(1, 40, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        fine_tune_quickly(model, examples, tmp_path, report=report, steps=40)
    assert 'before the first checkpoint' in caplog.text
    assert (tmp_path / WORK / 'data').is_dir()
