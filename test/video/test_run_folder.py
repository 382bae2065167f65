from __future__ import annotations

import re
from pathlib import Path

import pytest

from instructseg_ros.video.run_folder import OutputError, RunFolder, file_names

RUN = {'source': 'video.mp4', 'topic': None, 'instructions': ['the mug'], 'model': 'embedded'}


def begin(folder: Path, *, overwrite: bool = False, **changes: object) -> RunFolder:
    folder.mkdir(parents=True, exist_ok=True)
    output = RunFolder(folder)
    output.begin({**RUN, **changes}, overwrite=overwrite)
    return output


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    output = begin(tmp_path / 'new' / 'masks')
    assert output.frames is None
    output.complete(7)
    assert begin(tmp_path / 'new' / 'masks').frames == 7


@pytest.mark.parametrize(
    'changes',
    [
        {'instructions': ['the mug', 'the car']},
        {'source': 'other.mp4'},
        {'model': 'mine'},
        {'topic': '/left'},
    ],
)
def test_another_run_is_not_mixed_in(tmp_path: Path, changes: dict[str, object]) -> None:
    begin(tmp_path)
    with pytest.raises(OutputError, match=r'another run .*--output.*--overwrite') as refusal:
        begin(tmp_path, **changes)
    assert repr(next(iter(changes.values()))) in str(refusal.value)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / 'thesis.tex').write_text('at last')
    for overwrite in (False, True):
        with pytest.raises(OutputError, match='holds other things'):
            begin(tmp_path, overwrite=overwrite)
    assert [file.name for file in tmp_path.iterdir()] == ['thesis.tex']


def test_beginning_anew_deletes_what_a_run_writes_and_nothing_else(tmp_path: Path) -> None:
    output = begin(tmp_path)
    output.record.write_text('{}\n')
    (output.png / 'the_mug').mkdir(parents=True)
    output.scratch.mkdir()
    (tmp_path / 'notes.txt').write_text('good')
    output.complete(3)
    assert begin(tmp_path, overwrite=True, model='mine').frames is None
    assert {file.name for file in tmp_path.iterdir()} == {'run.json', 'notes.txt'}


@pytest.mark.parametrize('text', ['', '{}', '[]', '{"run": 3, "frames": 1}'])
def test_a_damaged_description_is_named(tmp_path: Path, text: str) -> None:
    begin(tmp_path)
    (tmp_path / 'run.json').write_text(text)
    with pytest.raises(OutputError, match=r'run\.json is damaged .*--overwrite'):
        begin(tmp_path)
    assert begin(tmp_path, overwrite=True).frames is None


def test_a_lock_that_an_earlier_run_left_is_nothing_else(tmp_path: Path) -> None:
    (tmp_path / '.lock').touch()
    assert begin(tmp_path).frames is None


def test_a_part_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    output = begin(tmp_path)

    def break_off(folder: Path) -> None:
        (folder / 'first').touch()
        assert not output.png.exists()
        raise RuntimeError('no paper')

    with pytest.raises(RuntimeError, match='no paper'):
        output.make(output.png, break_off)
    assert not output.png.exists()
    output.make(output.png, lambda folder: (folder / 'second').touch())
    assert {file.name for file in output.png.iterdir()} == {'first', 'second'}
    assert not output.scratch.exists()
    output.make(output.png, break_off)  # is there, so nothing is done


def test_names_are_short_different_and_fit_for_topics() -> None:
    texts = [
        'The red mug!',
        'the red mug',
        '2 cars',
        '红色杯子',
        '?x' * 50,
        'the red mug 2',
        'the red mug.',
        '蓝色',
        'd\u2019été',
    ]
    names = file_names(texts)
    assert names[:4] == ['the_red_mug', 'the_red_mug_2', 'instruction_2_cars', 'instruction']
    assert len(set(names)) == len(texts)
    assert all(re.fullmatch('[a-z][a-z0-9]*(_[a-z0-9]+)*', name) for name in names)
    assert max(map(len, names)) < 60
