from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from instructseg_ros.cli import main

COMMANDS = ['say', 'evaluate', 'train']


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the parser says against a command line."""
    with pytest.raises(SystemExit) as refusal:
        main(arguments)
    assert refusal.value.code == 2
    return capsys.readouterr().err


def failed(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a failing command prints."""
    assert main(arguments) == 1
    captured = capfd.readouterr()
    assert captured.out == ''
    assert captured.err.startswith('instructseg: ') and captured.err.count('\n') == 1
    return captured.err


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, '--help'])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f'usage: instructseg {command}') and '--help' in shown


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(['--help'])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(f'\n    {command} ' in shown for command in COMMANDS)


def test_no_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'COMMAND' in refused(capsys)


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (['dance'], 'dance'),
        (['say'], 'text'),
        (['say', 'the mug', '--loudly'], '--loudly'),
        (['say', 'the mug', '--timeout', 'long'], 'long'),
        (['evaluate'], 'benchmark'),
        (['evaluate', 'kitchen'], 'kitchen'),
        (['evaluate', 'tabletop', '--scenes', 'many'], 'many'),
        (['train'], 'source'),
        (['train', 'tabletop', '--recipe', 'secret'], 'secret'),
    ],
)
def test_unknown_arguments_are_named(
    capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    message = refused(capsys, *arguments)
    assert named in message and 'usage: instructseg' in message


def test_a_missing_model_is_one_clear_line(capfd: pytest.CaptureFixture[str]) -> None:
    message = failed(capfd, 'evaluate', 'tabletop', '--model', '/no/such/model')
    assert '/no/such/model' in message and 'existing folder' in message


def test_at_least_one_answer_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['say', 'the red mug', '--answers', '0'])
    assert 'at least 1' in capfd.readouterr().err


def test_an_unknown_device_is_one_clear_line(
    capfd: pytest.CaptureFixture[str], tiny_model_dir: Path
) -> None:
    message = failed(
        capfd, 'evaluate', 'tabletop', '--model', str(tiny_model_dir), '--device', 'abacus'
    )
    assert '"abacus"' in message and '"cpu"' in message


def test_unknown_stages_are_named_before_anything_is_rendered(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / 'run'
    message = failed(
        capfd, 'train', 'tabletop', '--folder', str(folder), '--stages', 'tower', 'sleep'
    )
    assert "'sleep'" in message and 'joint' in message
    assert not folder.exists()


def test_evaluation_prints_a_table_and_writes_the_figures(
    capsys: pytest.CaptureFixture[str], tiny_model_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / 'new' / 'figures.json'
    arguments = ['--model', str(tiny_model_dir), '--device', 'cpu', '--scenes', '0']
    assert main(['evaluate', 'tabletop', *arguments, '--json', str(file)]) == 0
    shown = capsys.readouterr().out
    figures = json.loads(file.read_text())
    assert 'superlative' in shown and 'present missed' in shown
    assert set(figures) >= {
        'kinds', 'absent', 'present_missed', 'seen_wording', 'held_out_wording',
    }  # fmt: skip


def test_a_machine_without_opengl_is_told_what_to_install(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, '-m', 'instructseg_ros.cli', 'train', 'tabletop', '--recipe', 'smoke',
         '--folder', str(tmp_path), '--processes', '1'],
        env={**os.environ, 'MUJOCO_GL': 'nothing'}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 1
    assert 'Traceback' not in process.stderr
    last = process.stderr.splitlines()[-1]
    assert last.startswith('instructseg: ') and 'libosmesa6' in last
