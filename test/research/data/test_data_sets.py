"""Properties of every data set, on its own tiny sample."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from benchmark_samples import make_sample

import instructseg_ros.tabletop  # noqa: F401 - registers its data set
from instructseg_ros.research.data.check import check
from instructseg_ros.research.data.dataset import data_set, names
from instructseg_ros.research.data.reading import DataError, MissingError
from instructseg_ros.research.data.sample import Sample, SampleTask

UNPUBLISHED = {('ref-youtube-vos', 'valid')}


@pytest.fixture(scope='session')
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sample of every data set in it."""
    folder = tmp_path_factory.mktemp('sets')
    for name in names():
        make_sample(name, folder / name)
    return folder


@pytest.mark.parametrize('name', names())
def test_a_sample_has_no_problems(sets: Path, name: str) -> None:
    data = data_set(name)
    for findings in check(data, sets / name, data.splits):
        assert findings.samples > 0
        assert findings.problems == ()


@pytest.mark.parametrize('name', names())
def test_samples_have_what_their_task_needs(sets: Path, name: str) -> None:
    data = data_set(name)
    for split in data.splits:
        samples = data.read(sets / name, split).samples
        assert len({sample.key for sample in samples}) == len(samples)
        for sample in samples:
            check_sample(sample, published=(name, split) not in UNPUBLISHED)


@pytest.mark.parametrize('name', names())
def test_samples_know_the_file_they_were_read_from(sets: Path, name: str) -> None:
    data = data_set(name)
    for split in data.splits:
        for sample in data.read(sets / name, split).samples:
            assert sample.where.startswith(f'{sets / name}/')
            assert any(Path(sample.where[:end]).is_file() for end in range(len(sample.where) + 1))


POINTER = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\n'


@pytest.mark.parametrize(
    ('name', 'split', 'path'),
    [
        ('coco', 'train', 'annotations/instances_train.json'),
        ('folder', 'train', 'train/annotations.jsonl'),
        ('bag', 'train', 'train/labels.yaml'),
        ('mmbench', 'dev', 'mmbench_dev_20230712.tsv'),
        ('pope', 'test', 'coco/coco_pope_random.json'),
        ('refcoco', 'val', 'refcoco/refcoco_val.json'),
        ('refcoco+', 'val', 'refcoco+/refs(unc).p'),
        ('ref-davis17', 'val', 'ImageSets/2017/val.txt'),
        ('ref-davis17', 'val', 'davis_text_annotations/Davis17_annot1.txt'),
    ],
)
def test_a_git_lfs_pointer_is_reported_with_its_remedy(
    sets: Path, tmp_path: Path, name: str, split: str, path: str
) -> None:
    folder = shutil.copytree(sets / name, tmp_path / name)
    (folder / name / 'refcoco+_val.json').unlink(missing_ok=True)  # read as published
    file = folder / path
    file.write_text(POINTER)
    with pytest.raises(DataError) as refusal:
        data_set(name).read(folder, split)
    assert not isinstance(refusal.value, MissingError)
    assert str(refusal.value) == (
        f'{file} is only a git-lfs pointer: run `git lfs pull` in {file.parent}'
    )


@pytest.mark.parametrize(
    ('name', 'split', 'paths'),
    [
        ('bag', 'val', ['val']),
        ('coco', 'val', ['annotations/instances_val.json']),
        ('folder', 'val', ['val']),
        ('gqa', None, ['{}_questions.json']),
        ('mmbench', 'dev', ['mmbench_dev_20230712.tsv']),
        ('reasonseg', 'val', ['val']),
        ('ref-davis17', 'val', ['ImageSets/2017/val.txt']),
        ('ref-youtube-vos', 'valid', ['valid']),
        ('refcoco', 'val', ['refcoco/refcoco_val.json', 'refcoco/instances.json']),
        ('revos', 'valid', ['meta_expressions_valid_.json']),
        ('tabletop', 'val', ['val']),
    ],
)
def test_a_split_that_does_not_exist_is_missing_and_not_a_problem(
    sets: Path, tmp_path: Path, name: str, split: str | None, paths: list[str]
) -> None:
    data = data_set(name)
    gone = data.known_split(split)
    folder = shutil.copytree(sets / name, tmp_path / name)
    for path in paths:
        place = folder / path.format(gone)
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    *others, last = check(data, folder, data.splits)
    assert last.split == gone and last.missing and last.problems == ()
    assert others and all(findings.samples for findings in others)


def check_sample(sample: Sample, *, published: bool) -> None:
    if sample.task is SampleTask.CONVERSATION:
        assert sample.turns and not sample.instructions and not sample.targets
        return
    assert sample.instructions and not sample.turns
    assert len(sample.targets) == len(sample.frames)
    assert all((target is not None) == published for target in sample.targets)
    if not sample.task.is_video:
        assert len(sample.frames) == 1


# A bag says when it was written.
@pytest.mark.parametrize('name', [name for name in names() if name != 'bag'])
def test_the_same_seed_makes_the_same_sample(sets: Path, tmp_path: Path, name: str) -> None:
    make_sample(name, tmp_path / 'again')
    first, again = sets / name, tmp_path / 'again'
    files = sorted(file.relative_to(first) for file in first.rglob('*') if file.is_file())
    assert files == sorted(f.relative_to(again) for f in again.rglob('*') if f.is_file())
    different = [
        file for file in files if (first / file).read_bytes() != (again / file).read_bytes()
    ]
    assert different == []


@pytest.mark.parametrize('name', [name for name in names() if name not in ('mmbench', 'bag')])
def test_a_damaged_image_is_reported_and_the_others_are_used(
    sets: Path, tmp_path: Path, name: str
) -> None:
    data = data_set(name)
    folder = tmp_path / 'set'
    shutil.copytree(sets / name, folder)
    split = data.splits[0]
    whole = data.read(folder, split).samples
    picture = whole[0].frames[0].path  # type: ignore[attr-defined]
    picture.write_bytes(picture.read_bytes()[:100])
    [findings] = check(data, folder, (split,))
    assert 0 < len(findings.problems) < len(whole) * len(whole[0].frames)
    assert all(
        str(picture) in f'{problem}' or picture.stem in f'{problem}'
        for problem in findings.problems
    )
    assert findings.samples < len(whole)


@pytest.mark.parametrize('name', names())
def test_a_folder_without_the_data_set_is_refused_with_the_layout(
    tmp_path: Path, name: str
) -> None:
    data = data_set(name)
    with pytest.raises(DataError, match='is not') as error:
        check(data, tmp_path, data.splits)
    assert data.layout in str(error.value)


@pytest.mark.parametrize('name', names())
def test_files_added_by_macos_are_ignored(sets: Path, tmp_path: Path, name: str) -> None:
    data = data_set(name)
    folder = tmp_path / 'set'
    shutil.copytree(sets / name, folder)
    clean = check(data, folder, data.splits)
    for file in [each for each in folder.rglob('*') if each.is_file()]:
        file.with_name(f'._{file.name}').write_bytes(b'\0\5\x16\7Mac OS X')
        file.with_name('.DS_Store').write_bytes(b'\0\0\0\1Bud1')
    (folder / '__MACOSX').mkdir()
    assert check(data, folder, data.splits) == clean


def test_targets_of_a_sample_show_its_objects(sets: Path) -> None:
    samples = data_set('refcoco').read(sets / 'refcoco', 'val').samples
    colours = {'red': 0, 'green': 1, 'blue': 2}
    for sample in samples:
        colour = sample.instructions[0].split()[1]
        if colour in colours:
            picture = np.array(sample.frames[0].load()).astype(int)
            mean = picture[sample.targets[0].mask()].mean(axis=0)  # type: ignore[union-attr]
            assert mean.argmax() == colours[colour]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match='choose from refcoco'):
        data_set('cityscapes')


def test_a_damaged_split_is_a_problem_and_a_missing_one_is_not(sets: Path, tmp_path: Path) -> None:
    data = data_set('revos')
    folder = shutil.copytree(sets / 'revos', tmp_path / 'set')
    file = folder / 'meta_expressions_valid_.json'
    file.write_text(file.read_text()[:100])
    train, valid = check(data, folder, data.splits)
    assert (train.split, train.problems, train.missing) == ('train', (), '')
    assert valid.samples == 0 and 'not readable as JSON' in str(valid.problems[0])
    file.unlink()
    _, valid = check(data, folder, data.splits)
    assert valid.problems == () and valid.missing == f'{file} is missing'


@pytest.mark.parametrize('name', ['pope', 'refcoco'])
def test_an_unknown_split_is_refused_with_the_known_ones(name: str) -> None:
    data = data_set(name)
    assert data.known_split(None) == data.splits[0]
    known = f"{name} has no split 'tset'; its splits are {data.splits[0]}"
    with pytest.raises(DataError, match=known):
        data.known_split('tset')
