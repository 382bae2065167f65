from __future__ import annotations

import errno
import fcntl
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lock_holder import lock_holder

from instructseg_ros.video.run_folder import LockError, first_process, locked


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with lock_holder(tmp_path) as holder:
        yield holder


def test_a_second_process_is_refused_and_told_who_writes_there(
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


def test_a_lock_ends_with_its_block_and_is_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path / 'new'):
            raise KeyError


def test_locks_of_other_names_do_not_exclude_each_other(
    tmp_path: Path, holder: tuple[subprocess.Popen[str], int]
) -> None:
    with locked(tmp_path, name='.other.lock'):
        assert holder[0].poll() is None


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, command: int) -> None:
        raise OSError(errno.ENOLCK, 'no locks available')

    monkeypatch.setattr(fcntl, 'lockf', refuse)
    with caplog.at_level(logging.WARNING), locked(tmp_path):
        assert 'does not support file locks' in caplog.text


@pytest.mark.parametrize('name', ['file', 'file/in/it'])
def test_a_file_where_the_folder_belongs_is_named_with_the_remedy(
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
def test_the_first_process_of_a_launcher_is_known_by_its_rank(
    variables: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('RANK', 'WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert first_process() is first
