"""Teaching a model: names, unfinished work, and the new model folder."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError
from shape_examples import (
    make_quick,
    plain_background,
    quick_teaching,  # noqa: F401
    shape_example,
    shape_examples,
)

from instructseg_ros.model.model_files import (
    MANIFEST,
    TAUGHT,
    TAUGHT_WEIGHTS,
    check_manifest,
    find_model,
)
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.model.taught_network import TaughtNetwork, read_taught
from instructseg_ros.teaching import teach
from instructseg_ros.teaching.backgrounds import Background
from instructseg_ros.teaching.examples import FOLDER, load_examples, names_of, save_examples
from instructseg_ros.teaching.fine_tuning import WORK
from instructseg_ros.teaching.teach import TeachingError
from instructseg_ros.teaching.trainer import HeadTrainer, Progress

EMBEDDED = find_model('embedded')
NEW = {TAUGHT, TAUGHT_WEIGHTS, MANIFEST}
pytestmark = pytest.mark.usefixtures('quick_teaching')


def ignore(progress: Progress) -> None:
    """Report nothing."""


def taught_names(model: Path) -> list[str]:
    return [noun.name for noun in read_taught(model)]


def run(
    output: Path,
    *names: str,
    model: Path = EMBEDDED,
    steps: int = 2,
    report: Callable[[Progress], Any] = ignore,
) -> Path:
    examples = teach.all_examples(model, shape_examples(*names), names)
    return teach.teach(model, examples, output, steps=steps, report=report)


def stop_at(stage: str, done: float, error: BaseException) -> Callable[[Progress], None]:
    """Return a report that raises an error when a stage is so far."""

    def report(progress: Progress) -> None:
        if progress.stage == stage and progress.done >= done:
            raise error

    return report


@pytest.fixture(scope='module')
def star_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model that was taught the noun star; tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        yield run(tmp_path_factory.mktemp('taught') / 'star', 'star')


@pytest.fixture(scope='module')
def both_model(star_model: Path) -> Path:
    """A model that was taught star, and then stapler; tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        return run(star_model.with_name('both'), 'stapler', model=star_model)


@pytest.mark.parametrize('name', ['', 'r2d2', 'one two three four five', 'café', 'a  b', "cat's"])
def test_a_name_without_words_of_letters_is_refused(name: str) -> None:
    with pytest.raises(TeachingError, match='use one to four words'):
        teach.check_names(EMBEDDED, [name])


@pytest.mark.parametrize('name', ['left', 'rightmost', 'biggest', 'red', 'grey'])
@pytest.mark.parametrize('add', [False, True])
def test_a_word_that_says_which_object_is_meant_cannot_be_a_name(name: str, add: bool) -> None:
    with pytest.raises(TeachingError, match='cannot be a name'):
        teach.check_names(EMBEDDED, [name], add=add)


@pytest.mark.parametrize('name', ['star', 'paper clip', 'stapler', 'scissors holder'])
def test_a_new_noun_can_be_taught(name: str) -> None:
    teach.check_names(EMBEDDED, [name])


@pytest.mark.parametrize('name', ['mug', 'mugs', 'knives', 'abacus', 'accordions', 'orange'])
def test_a_noun_of_the_tabletop_or_of_imagenet_is_known_and_needs_add(name: str) -> None:
    with pytest.raises(TeachingError, match=f'knows "{name}" already.*--add'):
        teach.check_names(EMBEDDED, ['star', name])
    teach.check_names(EMBEDDED, ['star', name], add=True)


def test_a_taught_noun_and_its_plural_are_known_and_need_add(star_model: Path) -> None:
    with pytest.raises(TeachingError, match='was taught "star" before: pass --add'):
        teach.check_names(star_model, ['star'])
    with pytest.raises(TeachingError, match='knows "stars" already'):
        teach.check_names(star_model, ['stars'])
    teach.check_names(star_model, ['star'], add=True)
    teach.check_names(star_model, ['stapler'])


def test_a_name_in_fewer_than_three_pictures_is_refused() -> None:
    with pytest.raises(TeachingError, match='"stapler" is in 2 of the pictures'):
        teach.all_examples(EMBEDDED, [*shape_examples('star'), *shape_examples('stapler', count=2)])


def test_a_name_of_which_no_picture_is_left_is_refused() -> None:
    with pytest.raises(TeachingError, match='"stapler" is in 0 of the pictures'):
        teach.all_examples(EMBEDDED, shape_examples('star'), ['stapler'])


def test_few_examples_suffice_for_a_noun_that_has_more_from_before(star_model: Path) -> None:
    examples = teach.all_examples(star_model, [shape_example('star', 9)], ['star'])
    assert [each.source for each in examples] == ['star 0', 'star 1', 'star 2', 'star 9']


def test_a_folder_with_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'thesis.txt').touch()
    for call in (teach.check_output, lambda folder: run(folder, 'star')):
        with pytest.raises(TeachingError, match=r'contains thesis\.txt: name a new folder'):
            call(tmp_path)
    assert not (tmp_path / WORK).exists()


def test_the_new_model_has_the_base_models_files_byte_by_byte_and_a_valid_manifest(
    star_model: Path,
) -> None:
    check_manifest(star_model)
    shared = {file.name for file in EMBEDDED.iterdir() if file.is_file()} - {MANIFEST}
    for name in shared:
        assert (star_model / name).read_bytes() == (EMBEDDED / name).read_bytes(), name
    assert {each.name for each in star_model.iterdir()} == shared | NEW | {FOLDER, '.lock'}
    assert taught_names(star_model) == ['star']
    [noun] = read_taught(star_model)
    assert noun.examples == 3


def test_pictures_that_show_a_noun_without_labels_are_no_backgrounds_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, starry = plain_background(), replace(plain_background(), nouns=frozenset(['star']))
    used: list[Background] = []

    class Watched(HeadTrainer):
        def __init__(self, backbone: Any, *arguments: Any, **options: Any) -> None:
            used.extend(arguments[-1])
            super().__init__(backbone, *arguments, **options)

    monkeypatch.setattr(teach, 'rendered_backgrounds', lambda count: [plain, starry])
    monkeypatch.setattr(teach, 'HeadTrainer', Watched)
    run(tmp_path / 'star', 'star')
    assert used == [plain]


def test_the_examples_are_stored_in_the_new_model(star_model: Path) -> None:
    stored = load_examples(star_model / FOLDER)
    for mine, theirs in zip(stored, shape_examples('star'), strict=True):
        assert np.array_equal(mine.image, theirs.image)
        assert np.array_equal(mine.union('star'), theirs.union('star'))
        assert mine.alone


def test_the_new_model_loads_and_answers(star_model: Path) -> None:
    segmenter = Segmenter.from_pretrained(str(star_model))
    prediction = segmenter.segment(shape_example('star').image, 'the star')
    assert prediction.mask.shape == (120, 160)


def test_a_second_teaching_keeps_the_nouns_and_examples_of_the_first(both_model: Path) -> None:
    check_manifest(both_model)
    assert taught_names(both_model) == ['stapler', 'star']
    stored = load_examples(both_model / FOLDER)
    assert names_of(stored) == ['stapler', 'star'] and len(stored) == 6


def test_a_forgotten_noun_is_gone_with_its_examples_and_the_others_stay(
    both_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / 'forgotten'
    teach.forget(both_model, ['star'], output, steps=2, report=lambda progress: None)
    check_manifest(output)
    assert taught_names(output) == ['stapler']
    assert [each.source for each in load_examples(output / FOLDER)] == [
        f'stapler {seed}' for seed in range(3)
    ]
    assert taught_names(both_model) == ['stapler', 'star']


def test_pictures_of_a_forgotten_noun_that_show_others_stay(
    both_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / 'model'
    model.mkdir()
    for file in both_model.iterdir():
        if file.is_file():
            (model / file.name).symlink_to(file)
    star, stapler = shape_example('star', 1), shape_example('stapler', 2)
    mixed = type(star)(image=star.image, objects=(*star.objects, *stapler.objects), source='mixed')
    save_examples([mixed, *shape_examples('stapler', 'star')], model / FOLDER)
    output = tmp_path / 'output'
    teach.forget(model, ['star'], output, steps=1, report=lambda progress: None)
    stored = load_examples(output / FOLDER)
    assert [each.source for each in stored][:2] == ['mixed', 'stapler 0']
    assert names_of(stored) == ['stapler']


def test_a_model_that_forgot_everything_equals_the_base_model(
    star_model: Path, tmp_path: Path
) -> None:
    output = teach.forget(star_model, ['star'], tmp_path / 'output', report=ignore)
    files = {file.name: file.read_bytes() for file in EMBEDDED.iterdir() if file.is_file()}
    mine = {file.name: file.read_bytes() for file in output.iterdir() if file.name != '.lock'}
    assert {*mine} == {*files}
    assert all(mine[name] == files[name] for name in files if name != MANIFEST)
    check_manifest(output)


def test_only_taught_nouns_can_be_forgotten(star_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TeachingError, match='was not taught "mug"; it was taught star'):
        teach.forget(star_model, ['mug'], tmp_path / 'output', report=ignore)
    with pytest.raises(TeachingError, match='it was taught nothing'):
        teach.forget(EMBEDDED, ['star'], tmp_path / 'output', report=ignore)


def test_a_killed_training_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    output = tmp_path / 'star'
    with pytest.raises(RuntimeError, match='killed'):
        run(output, 'star', steps=3, report=stop_at('pixels', 0.6, RuntimeError('killed')))
    assert not (output / 'config.json').exists()
    teach.check_output(output)
    reported: list[Progress] = []
    run(output, 'star', steps=3, report=reported.append)
    pixels = [each.done for each in reported if each.stage == 'pixels']
    assert pixels == [1.0]  # the last of three steps
    assert taught_names(output) == ['star']
    assert not (output / WORK).exists()


def test_unfinished_work_of_other_examples_is_not_used(tmp_path: Path) -> None:
    output = tmp_path / 'both'
    with pytest.raises(RuntimeError, match='killed'):
        run(output, 'star', report=stop_at('pixels', 0.5, RuntimeError('killed')))
    reported: list[Progress] = []
    run(output, 'star', 'stapler', report=reported.append)
    assert [each.done for each in reported if each.stage == 'pixels'] == [0.5, 1.0]
    assert taught_names(output) == ['stapler', 'star']


def test_an_interruption_of_the_pixel_stage_keeps_the_best_so_far(tmp_path: Path) -> None:
    output, stages = tmp_path / 'star', []
    stop = stop_at('pixels', 0.01, KeyboardInterrupt())

    def report(progress: Progress) -> None:
        stages.append(progress.stage)
        stop(progress)

    run(output, 'star', steps=50, report=report)
    assert stages.count('pixels') == 1 and stages[-1] == 'interrupted'
    check_manifest(output)
    assert taught_names(output) == ['star']


def test_an_interruption_before_the_pixel_stage_ends_the_teaching_and_can_be_resumed(
    tmp_path: Path,
) -> None:
    output = tmp_path / 'star'
    with pytest.raises(KeyboardInterrupt):
        run(output, 'star', report=stop_at('views', 0.5, KeyboardInterrupt()))
    assert run(output, 'star') == output
    check_manifest(output)


@pytest.mark.parametrize(
    'error',
    [
        OSError(errno.ENOSPC, 'No space left on device'),
        SafetensorError('Error while serializing: I/O error: No space left (os error 28)'),
    ],
)
@pytest.mark.parametrize('place', [(TaughtNetwork, 'save'), (teach, 'save_examples')])
def test_a_full_disk_is_an_error_that_names_the_folder_and_does_not_block_a_retry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, place: tuple[Any, str]
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    output = tmp_path / 'star'
    with monkeypatch.context() as patch:
        patch.setattr(*place, fail)
        with pytest.raises(OSError, match=f'{output} cannot be written .*free some space'):
            run(output, 'star')
    assert {each.name for each in output.iterdir()} <= {WORK, '.lock'}
    teach.check_output(output)
    run(output, 'star')
    check_manifest(output)


def test_a_full_disk_during_a_capture_does_not_block_a_retry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(file: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'write_text', fail)
        with pytest.raises(OSError, match=f'{tmp_path} cannot be written'):
            teach.keep_capture(tmp_path, 'paper clip', shape_examples('paper clip'))
    assert teach.kept_capture(tmp_path, 'paper clip') == []
    teach.check_output(tmp_path)
    teach.keep_capture(tmp_path, 'paper clip', shape_examples('paper clip'))
    assert len(teach.kept_capture(tmp_path, 'paper clip')) == 3


def test_another_error_of_the_file_system_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(NotADirectoryError, match='is a file: name a folder'):
        run(tmp_path / 'file', 'star')


def test_a_kill_while_the_new_model_is_moved_does_not_block_a_retry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output, replace, moved = tmp_path / 'star', Path.replace, []

    def die(file: Path, target: Path) -> Path:
        if target.parent == output:
            moved.append(target)
        if len(moved) > 3:
            raise RuntimeError('killed')
        return replace(file, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'replace', die)
        with pytest.raises(RuntimeError, match='killed'):
            run(output, 'star')
    assert (output / 'config.json').exists()
    teach.check_output(output)
    run(output, 'star')
    check_manifest(output)
    assert not (output / WORK).exists()


def test_a_changed_model_is_refused(star_model: Path, tmp_path: Path) -> None:
    model = tmp_path / 'changed'
    model.mkdir()
    for file in star_model.iterdir():
        if file.is_file():
            (model / file.name).write_bytes(file.read_bytes())
    (model / 'nouns.json').write_text('{}')
    with pytest.raises(ValueError, match=r'nouns\.json does not have the hash'):
        run(tmp_path / 'output', 'stapler', model=model)
    assert not (tmp_path / 'output').exists()
