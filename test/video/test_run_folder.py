from __future__ import annotations

import errno
import fcntl
import json
import logging
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lock_holder import lock_holder

from instructseg_ros.video.run_folder import (
    LockError,
    OutputError,
    RunFolder,
    file_names,
    first_process,
    locked,
    write_json,
)

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
def test_another_run_in_the_same_folder_is_refused(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    begin(tmp_path)
    with pytest.raises(OutputError, match=r'another run .*--output.*--overwrite') as refusal:
        begin(tmp_path, **changes)
    assert repr(next(iter(changes.values()))) in str(refusal.value)


def test_a_folder_with_other_files_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / 'thesis.tex').write_text('at last')
    for overwrite in (False, True):
        with pytest.raises(OutputError, match='contains other files'):
            begin(tmp_path, overwrite=overwrite)
    assert [file.name for file in tmp_path.iterdir()] == ['thesis.tex']


def test_overwrite_deletes_the_output_of_a_run_and_nothing_else(tmp_path: Path) -> None:
    output = begin(tmp_path)
    output.record.write_text('{}\n')
    (output.png / 'the_mug').mkdir(parents=True)
    output.incomplete.mkdir()
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


def test_the_lock_file_of_an_earlier_run_is_ignored(tmp_path: Path) -> None:
    (tmp_path / '.lock').touch()
    assert begin(tmp_path).frames is None


def test_a_folder_gets_its_name_when_it_is_complete(tmp_path: Path) -> None:
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
    assert not output.incomplete.exists()
    output.make(output.png, break_off)  # is there, so nothing is done


def test_names_are_short_unique_and_valid_for_topics() -> None:
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


def test_a_json_file_is_replaced_only_by_a_complete_one(tmp_path: Path) -> None:
    file = tmp_path / 'new' / 'values.json'
    write_json(file, {'name': '红色杯子'})
    with pytest.raises(TypeError):
        write_json(file, object())
    assert json.loads(file.read_text()) == {'name': '红色杯子'}
    assert list(file.parent.iterdir()) == [file]


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with lock_holder(tmp_path) as holder:
        yield holder


def test_a_second_process_is_refused_with_the_name_of_the_first(
    tmp_path: Path, holder: tuple[subprocess.Popen[str], int]
) -> None:
    with pytest.raises(LockError) as refusal, locked(tmp_path):
        pass
    message = str(refusal.value)
    assert f'process {holder[0].pid} on ' in message
    assert str(tmp_path) in message and 'name another --output' in message


def test_the_lock_of_a_killed_process_does_not_block_though_its_child_lives(
    tmp_path: Path, holder: tuple[subprocess.Popen[str], int]
) -> None:
    holder[0].kill()
    holder[0].wait()
    with locked(tmp_path):
        assert Path(f'/proc/{holder[1]}').exists()  # The child is there.


def test_a_lock_is_released_after_its_block(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path / 'new'):
            raise KeyError


def test_only_the_first_process_of_a_run_takes_the_lock(
    tmp_path: Path, holder: tuple[subprocess.Popen[str], int]
) -> None:
    with locked(tmp_path, first=False):
        assert holder[0].poll() is None


def test_a_file_system_without_locks_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, command: int) -> None:
        raise OSError(errno.ENOLCK, 'no locks available')

    monkeypatch.setattr(fcntl, 'lockf', refuse)
    with caplog.at_level(logging.WARNING), locked(tmp_path):
        assert 'does not support file locks' in caplog.text


@pytest.mark.parametrize('name', ['file', 'file/in/it'])
def test_a_file_with_the_name_of_the_folder_is_reported_with_the_remedy(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / 'file').write_text('mine')
    with (
        pytest.raises(NotADirectoryError, match=r'file is a file: name a folder with --output'),
        locked(tmp_path / name),
    ):
        pass
    assert (tmp_path / 'file').read_text() == 'mine'


@pytest.mark.parametrize(
    ('variables', 'first'),
    [
        ({}, True),
        ({'RANK': '3'}, True),
        ({'WORLD_SIZE': '4', 'RANK': '0'}, True),
        ({'WORLD_SIZE': '4', 'RANK': '3'}, False),
    ],
)
def test_the_first_process_of_a_launcher_has_rank_0(
    variables: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('RANK', 'WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert first_process() is first
