from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.cli.main import main
from instructseg_ros.tabletop.world.recording import Recording

ROOT = Path(__file__).resolve().parents[2]
TRUTH = ROOT / 'instructseg_ros' / 'models' / 'photographs' / 'cat_mask.png'
COMMANDS = [
    'send',
    'segment',
    'video',
    'evaluate',
    'score',
    'calibrate',
    'train',
    'data',
    'convert',
    'benchmark',
    'soak',
]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the error of the parser for a command line."""
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
    assert all(f'\n    {command}' in shown for command in COMMANDS)


def test_no_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'COMMAND' in refused(capsys)


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (['dance'], 'dance'),
        (['send'], 'text'),
        (['send', 'the mug', '--loudly'], '--loudly'),
        (['send', 'the mug', '--stop'], '--stop'),
        (['send', 'the mug', '--timeout', 'long'], 'long'),
        (['segment', 'table.png'], 'instruction'),
        (['segment', 'table.png', 'the mug', '--dtype', 'fp8'], 'fp8'),
        (['evaluate'], 'benchmark'),
        (['evaluate', 'kitchen'], 'kitchen'),
        (['evaluate', 'tabletop', '--scenes', 'many'], 'many'),
        (['evaluate', 'tabletop', '--scenes', '0'], 'at least 1'),
        (['train', 'kitchen'], 'kitchen'),
        (['score', 'revos'], '--truth'),
        (['data', 'check', 'cityscapes', '.'], 'cityscapes'),
        (['benchmark', 'kitchen'], 'kitchen'),
        (['benchmark', 'model', '--size', 'huge'], 'huge'),
        (['benchmark', 'model', '--frames', '0'], 'at least 1'),
        (['benchmark', 'stream', '--scenes', '0'], 'at least 1'),
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


def test_at_least_one_result_is_requested(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['send', 'the red mug', '--results', '0'])
    assert 'at least 1' in capfd.readouterr().err


def test_an_unknown_device_is_one_clear_line(
    capfd: pytest.CaptureFixture[str], tiny_model_dir: Path
) -> None:
    message = failed(
        capfd, 'evaluate', 'tabletop', '--model', str(tiny_model_dir), '--device', 'abacus'
    )
    assert '"abacus"' in message and '"cpu"' in message


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        (['train'], '--recipe paper|fine_tune|FILE.yaml --model M'),
        (
            ['train', 'tabletop', '--recipe', 'secret'],
            'recipes of the package are embedded, language, polish, sentences, smoke',
        ),
        (['train', 'tabletop', '--set', 'first_scene=7'], 'first_scene must be at least 1000000'),
        (['train', '--recipe', 'secret', '--model', 'embedded'], 'recipes of the package are'),
        (['train', '--recipe', 'fine_tune', '--model', 'embedded'], '--data folder=DIR'),
        (['train', '--recipe', 'smoke', '--model', 'embedded', '--data', 'x'], 'give NAME=VALUE'),
        (['data', 'check', 'pope', '/no/such/folder'], 'coco/coco_pope_random.json'),
    ],
)
def test_a_missing_library_is_one_clear_line(
    capfd: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert main(arguments) == 1
    assert reason in capfd.readouterr().err


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(['data', 'make-sample', 'coco', str(tmp_path)])
    monkeypatch.setitem(sys.modules, 'pycocotools', None)
    capfd.readouterr()
    assert main(['data', 'check', 'coco', str(tmp_path)]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == (
        'instructseg: pycocotools is not installed: pip install pycocotools'
    )


@pytest.mark.parametrize(
    ('library', 'command', 'remedy'),
    [
        ('rclpy', ['send', 'the mug'], 'source a ROS 2 distribution'),
        ('rosbags', ['video', 'drive.mcap', 'the mug'], 'pip install rosbags'),
    ],
)
def test_a_library_that_is_not_for_training_has_a_remedy_of_its_own(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    library: str,
    command: list[str],
    remedy: str,
) -> None:
    for name in [
        name
        for name in sys.modules
        if name.startswith((library, 'instructseg_ros.ros.', 'instructseg_ros.video.'))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    assert failed(capfd, *command).startswith(f'instructseg: {library} is not installed: {remedy}')


def test_unknown_stages_are_named_before_anything_is_rendered(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / 'run'
    message = failed(
        capfd, 'train', 'tabletop', '--output', str(folder), '--stages', 'tower', 'sleep'
    )
    assert "'sleep'" in message and 'joint' in message
    assert not folder.exists()


def test_evaluation_prints_a_table_and_writes_the_figures(
    capsys: pytest.CaptureFixture[str], tiny_model_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / 'new' / 'figures.json'
    arguments = ['--model', str(tiny_model_dir), '--device', 'cpu', '--scenes', '1']
    assert main(['evaluate', 'tabletop', *arguments, '--json', str(file)]) == 0
    shown = capsys.readouterr().out
    figures = json.loads(file.read_text())
    assert 'superlative' in shown and 'present missed' in shown
    assert set(figures) >= {
        'categories',
        'absent',
        'present_missed',
        'seen_wording',
        'held_out_wording',
    }


def test_without_opengl_the_error_names_the_package_to_install(tmp_path: Path) -> None:
    process = subprocess.run(
        [
            sys.executable,
            '-m',
            'instructseg_ros.cli.main',
            'train',
            'tabletop',
            '--recipe',
            'smoke',
            '--output',
            str(tmp_path),
            '--workers',
            '1',
        ],
        env={**os.environ, 'MUJOCO_GL': 'nothing'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert 'Traceback' not in process.stderr
    last = process.stderr.splitlines()[-1]
    assert last.startswith('instructseg: ') and 'libosmesa6' in last


@pytest.fixture(scope='module')
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two pictures of a table with a black car and nothing green, one after the other."""
    folder = tmp_path_factory.mktemp('pictures')
    files = [folder / 'earlier.png', folder / 'table.png']
    with Recording() as recording:
        for number, file in enumerate(files):
            Image.fromarray(recording.observe(0.25 * number, truth=False).rgb).save(file)
    return files


def segmented(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Output of `instructseg segment` with the embedded model."""
    assert main(['segment', *map(str, arguments), '--device', 'cpu']) == 0
    return capsys.readouterr().out


def test_a_picture_is_segmented_to_one_json_object(
    capsys: pytest.CaptureFixture[str], recorded: list[Path]
) -> None:
    answer = json.loads(segmented(capsys, recorded[1], 'the black car', '--json'))
    assert answer['instruction'] == 'the black car'
    assert answer['state'] == 'FOUND' and answer['reason'] == ''
    assert 0.5 < answer['score'] <= 1
    assert len(answer['region']) == 4 and answer['pixels'] > 1000
    assert answer['reference_frames'] == 0
    assert 'overlay' not in answer and 'mask' not in answer


def test_the_files_that_were_written_are_named(
    capsys: pytest.CaptureFixture[str], recorded: list[Path], tmp_path: Path
) -> None:
    file = tmp_path / 'new' / 'answer.jpg'
    answer = json.loads(segmented(capsys, recorded[1], 'the black car', '--json', '-o', file))
    assert answer['overlay'] == str(file)
    with Image.open(file) as overlay, Image.open(answer['mask']) as mask:
        assert overlay.size == mask.size == (640, 480)
        assert np.count_nonzero(np.array(mask) == 255) == answer['pixels']


def test_frames_before_a_picture_are_shown_to_the_model(
    capsys: pytest.CaptureFixture[str], recorded: list[Path]
) -> None:
    earlier, picture = recorded
    answer = json.loads(
        segmented(capsys, picture, 'the black car', '--json', '--reference', earlier, earlier)
    )
    assert answer['state'] == 'FOUND' and answer['reference_frames'] == 2


def test_without_json_the_answer_is_a_line_for_people(
    capsys: pytest.CaptureFixture[str], recorded: list[Path]
) -> None:
    found = segmented(capsys, recorded[1], 'the black car')
    assert re.fullmatch(r'FOUND, score 0\.\d\d, \d+ pixels\n', found)
    missing = segmented(capsys, recorded[1], 'the green bowl')
    assert re.fullmatch(r'NOT_FOUND, score 0\.\d\d, 0 pixels: nothing in the image .*\n', missing)


def test_a_picture_that_cannot_be_read_is_one_clear_line(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert 'none.png' in failed(capfd, 'segment', str(tmp_path / 'none.png'), 'the mug')
    file = tmp_path / 'odd.png'
    file.write_text('not a picture')
    message = failed(capfd, 'segment', str(file), 'the mug')
    assert str(file) in message and 'cannot be read as an image' in message


def test_a_reference_that_cannot_be_read_is_one_clear_line(
    capfd: pytest.CaptureFixture[str], recorded: list[Path]
) -> None:
    message = failed(
        capfd, 'segment', str(recorded[1]), 'the mug', '--reference', '/no/such/frame.png'
    )
    assert '/no/such/frame.png' in message


def test_the_first_example_of_the_readme_selects_the_cat_and_nothing_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    [line] = re.findall(
        r'^instructseg (segment \S+\.jpg .*?)(?: -o .*)?$',
        (ROOT / 'README.md').read_text(),
        re.MULTILINE,
    )
    answer = segmented(capsys, *shlex.split(line)[1:], '-o', tmp_path / 'answer.png')
    assert answer.startswith('FOUND')
    with Image.open(tmp_path / 'answer_mask.png') as found, Image.open(TRUTH) as right:
        mask, truth = np.array(found) > 0, np.array(right) > 0
    assert (mask & truth).sum() > 0.8 * (mask | truth).sum()


def test_an_output_that_cannot_be_written_is_refused_before_the_model_is_loaded(
    capfd: pytest.CaptureFixture[str], recorded: list[Path], tmp_path: Path
) -> None:
    (tmp_path / 'folder.png').mkdir()
    (tmp_path / 'file').touch()
    for output in (tmp_path / 'folder.png', tmp_path / 'file' / 'answer.png'):
        message = failed(
            capfd, 'segment', str(recorded[1]), 'the mug', '--model', '/no/model', '-o', str(output)
        )
        assert str(output) in message
        message = failed(capfd, 'benchmark', 'soak', '--model', '/no/model', '--json', str(output))
        assert str(output) in message


def test_an_output_that_is_no_picture_is_refused_before_anything_is_read(
    capfd: pytest.CaptureFixture[str],
) -> None:
    message = failed(capfd, 'segment', '/no/such/table.png', 'the mug', '-o', 'answer.txt')
    assert 'answer.txt' in message and 'answer.png' in message


def test_a_text_without_words_is_one_clear_line(
    capfd: pytest.CaptureFixture[str], recorded: list[Path]
) -> None:
    assert 'say what to segment' in failed(capfd, 'segment', str(recorded[1]), '?')


def test_half_precision_that_a_cpu_does_not_compute_in_is_one_clear_line(
    capfd: pytest.CaptureFixture[str], recorded: list[Path], tmp_path: Path
) -> None:
    options = ['--device', 'cpu', '--dtype', 'fp16']
    assert '"bfloat16"' in failed(capfd, 'segment', str(recorded[1]), 'the mug', *options)
    file = tmp_path / 'figures.json'
    benchmark = ['benchmark', 'model', '--size', 'tiny', '--json', str(file)]
    assert '"bfloat16"' in failed(capfd, *benchmark, *options)
    assert not file.exists()


@pytest.mark.usefixtures('small_products')
def test_a_benchmark_prints_a_table_and_writes_the_figures(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / 'new' / 'figures.json'
    options = ['--size', 'tiny', '--device', 'cpu', '--frames', '1', '--json', str(file)]
    assert main(['benchmark', 'model', *options]) == 0
    shown = capsys.readouterr().out
    figures = json.loads(file.read_text())
    assert 'choose_mask' in shown and 'image_seconds: ' in shown
    assert figures['dtype'] == 'float32' and figures['naive_fp32_image_seconds'] is None
    assert set(figures) >= {
        'gemm_gflops',
        'stages',
        'video_stages',
        'image_seconds',
        'video_seconds',
        'peak_memory_gb',
    }
    assert figures['stages'].keys() == {
        'encode_frame',
        'perceive',
        'reason',
        'encode_pixels',
        'decode',
        'choose_mask',
    }
