"""Every benchmark by its command: on a tiny set, with a tiny model, in one process and in two."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_samples import make_sample
from deadlines import PROCESS_TIMEOUT
from lock_holder import lock_holder
from PIL import Image
from training_start import Start, make_start

from instructseg_ros.cli import main as cli
from instructseg_ros.model.model_files import find_model
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.data.dataset import PAPER, Benchmark, MaskBenchmark, data_set, names

NAMES = names('evaluate')
OWN_DATA = names('make-sample')[:3]


@pytest.fixture(scope='module')
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    return make_start(tmp_path_factory.mktemp('start'))


def make(name: str, folder: Path) -> Path:
    return make_sample(name, folder / 'data')


def arguments(name: str, data: Path, start: Start, output: Path) -> list[str]:
    return [
        'evaluate',
        name,
        '--data',
        str(data),
        '--model',
        str(start.model),
        '--output',
        str(output),
        '--json',
        str(output / 'figures.json'),
    ]


def figures(output: Path) -> dict[str, Any]:
    return dict(json.loads((output / 'figures.json').read_text()))


@pytest.mark.parametrize('name', NAMES)
def test_a_benchmark_is_checked_evaluated_and_scored(
    name: str, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make(name, tmp_path)
    assert cli.main(['data', 'check', name, str(data)]) == 0
    output = tmp_path / 'output'
    assert cli.main(arguments(name, data, start, output)) == 0
    shown = capsys.readouterr().out
    assert ('InstructSeg (paper)' in shown) == ('this model' in shown) == (name not in OWN_DATA)
    mine = figures(output)
    assert mine['skipped'] == mine['problems'] == []
    if name in names('score'):
        assert (
            cli.main(
                [
                    'score',
                    name,
                    '--truth',
                    str(data),
                    '--predictions',
                    str(output / 'predictions'),
                    '--json',
                    str(tmp_path / 's.json'),
                ]
            )
            == 0
        )
        scored = json.loads((tmp_path / 's.json').read_text())
        assert scored.items() <= mine.items()


@pytest.mark.parametrize('name', ['refcoco', 'revos', 'pope'])
def test_existing_predictions_are_not_repeated(name: str, start: Start, tmp_path: Path) -> None:
    data = make(name, tmp_path)
    output = tmp_path / 'output'
    assert cli.main(arguments(name, data, start, output)) == 0
    before = figures(output)
    files = sorted(file for file in output.rglob('*') if file.suffix in ('.png', '.jsonl'))
    gone = files[0]
    if gone.suffix == '.png':
        gone.unlink()
    times = {
        file: file.stat().st_mtime_ns for file in files if file.suffix == '.png' and file != gone
    }
    assert cli.main(arguments(name, data, start, output)) == 0
    assert figures(output) == before
    assert all(file.stat().st_mtime_ns == time for file, time in times.items())


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize('name', ['ref-davis17'])
def test_two_processes_get_the_figures_of_one(name: str, start: Start, tmp_path: Path) -> None:
    data = make(name, tmp_path)
    with one_thread():  # as each of the two: numbers of threads round otherwise
        assert cli.main(arguments(name, data, start, tmp_path / 'one')) == 0
    launcher = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc_per_node',
        '2',
        '-m',
        'instructseg_ros.cli.main',
    ]
    done = subprocess.run(
        [*launcher, *arguments(name, data, start, tmp_path / 'two')],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=PROCESS_TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    assert figures(tmp_path / 'two') == figures(tmp_path / 'one')


def test_a_damaged_image_is_reported_and_the_rest_is_evaluated(
    start: Start, tmp_path: Path
) -> None:
    data = make('refcoco', tmp_path)
    samples = data_set('refcoco').read(data, 'val').samples
    path = samples[0].frames[0].path  # type: ignore[attr-defined]
    path.write_bytes(b'no picture')
    assert cli.main(arguments('refcoco', data, start, tmp_path / 'output')) == 0
    mine = figures(tmp_path / 'output')
    assert len(mine['skipped']) == 3 and str(path) in mine['skipped'][0]
    assert len(mine['joined']['missing']) == 3


def test_a_damaged_video_is_reported_and_predicted_once_repaired(
    start: Start, tmp_path: Path
) -> None:
    data = make('ref-davis17', tmp_path)
    path = data_set('ref-davis17').read(data, 'val').samples[0].frames[3].path  # type: ignore[attr-defined]
    whole = path.read_bytes()
    path.write_bytes(b'no picture')
    output = tmp_path / 'output'
    assert cli.main(arguments('ref-davis17', data, start, output)) == 0
    broken = figures(output)
    # Both annotators' sentences on both things of the video.
    assert len(broken['skipped']) == 4 and str(path) in broken['skipped'][0]
    assert 'val-0/00000.png' in broken['not scored'][0]
    path.write_bytes(whole)
    assert cli.main(arguments('ref-davis17', data, start, output)) == 0
    assert figures(output)['skipped'] == [] and 'J&F-Mean' in figures(output)


def test_an_evaluation_without_readable_images_is_an_error(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ('refcoco', 'revos', 'pope'):
        data = make(name, tmp_path / name)
        command = arguments(name, data, start, tmp_path / name / 'output')
        for file in data.rglob('*.jpg'):
            file.write_bytes(b'no picture')
        assert cli.main(command) == 1
        assert f'no sample of {name} could be predicted' in capsys.readouterr().err


def test_a_question_that_is_too_long_is_reported_and_the_rest_is_answered(
    start: Start, tmp_path: Path
) -> None:
    data = make('gqa', tmp_path)
    file = data / 'testdev_balanced_questions.json'
    questions = json.loads(file.read_text())
    questions['00000001']['question'] = 'is it red ' * 2000
    file.write_text(json.dumps(questions))
    assert cli.main(arguments('gqa', data, start, tmp_path / 'output')) == 0
    mine = figures(tmp_path / 'output')
    assert mine['missing'] == len(mine['skipped']) == 1
    assert mine['skipped'][0].startswith('00000001: the text leaves no room')


@pytest.mark.parametrize('name', NAMES)
def test_an_unknown_split_is_an_error(
    name: str, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make(name, tmp_path)
    command = [*arguments(name, data, start, tmp_path / 'output'), '--split', 'none']
    assert cli.main(command) == 1
    assert f"{name} has no split 'none'; its splits are" in capsys.readouterr().err


def test_two_evaluations_in_one_output_are_refused(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make('folder', tmp_path)
    with lock_holder(tmp_path / 'output') as (holder, _):
        assert cli.main(arguments('folder', data, start, tmp_path / 'output')) == 1
        assert f'another run (process {holder.pid} on ' in capsys.readouterr().err
    assert cli.main(arguments('folder', data, start, tmp_path / 'output')) == 0


def test_own_data_is_evaluated_on_val_or_else_on_train_with_a_note(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make('folder', tmp_path)
    assert cli.main(arguments('folder', data, start, tmp_path / 'val')) == 0
    shown = capsys.readouterr().out
    assert shown.startswith('folder val\n') and 'no val split' not in shown
    shutil.rmtree(data / 'val')
    assert cli.main(arguments('folder', data, start, tmp_path / 'train')) == 0
    shown = capsys.readouterr().out
    assert shown.startswith('folder train\n') and 'There is no val split' in shown


def test_a_damaged_frame_of_own_data_is_reported_and_the_others_are_predicted(
    start: Start, tmp_path: Path
) -> None:
    data = make('folder', tmp_path)
    lines = (data / 'val' / 'annotations.jsonl').read_text().splitlines()
    (data / 'val' / 'annotations.jsonl').write_text(lines[4])  # a video of six frames
    (data / 'val' / 'video' / '5.jpg').write_bytes(b'no picture')
    output = tmp_path / 'output'
    assert cli.main(arguments('folder', data, start, output)) == 0
    mine = figures(output)
    assert '1 of 6 frames failed, first: ' in mine['skipped'][0] and '5.jpg' in mine['skipped'][0]
    assert mine['missing'] == ['1_0/00005.png']
    assert len(list((output / 'predictions' / '1_0').iterdir())) == 5


def test_own_data_without_a_usable_sample_is_an_error(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make('folder', tmp_path)
    (data / 'val' / 'annotations.jsonl').write_text('{"image": "a.jpg"}')
    assert cli.main(arguments('folder', data, start, tmp_path / 'output')) == 1
    error = capsys.readouterr().err
    assert 'no sample of folder val that can be used' in error and 'line 1' in error


def test_added_lines_of_own_data_do_not_get_the_masks_of_other_lines(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make('folder', tmp_path)
    command = arguments('folder', data, start, tmp_path / 'output')
    assert cli.main(command) == 0
    file = data / 'val' / 'annotations.jsonl'
    first, *rest = file.read_text().splitlines()
    file.write_text('\n'.join([*rest, first]))
    assert cli.main(command) == 1
    assert 'holds predictions of samples' in capsys.readouterr().err


def test_a_replaced_image_does_not_keep_the_old_mask(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, file in (('folder', 'val/images/1.jpg'), ('bag', 'val/val.mcap')):
        data = make(name, tmp_path / name)
        command = arguments(name, data, start, tmp_path / name / 'output')
        assert cli.main(command) == 0
        assert cli.main(command) == 0
        os.utime(data / file, (2e9, 2e9))
        assert cli.main(command) == 1
        assert 'holds predictions of images that have changed' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('data', 'output', 'remedy'),
    [
        ('data', 'file', 'is a file: name a folder with --output'),
        ('none', 'output', 'none is not a folder: name the folder of the data set with --data'),
        ('data', 'other', 'name another --output'),
    ],
)
def test_data_and_output_are_checked_before_the_model_is_loaded(
    data: str, output: str, remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make('folder', tmp_path)
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'evaluation.json').write_text('{"benchmark": "coco"}')
    model = shutil.copytree(find_model('embedded'), tmp_path / 'model')
    # Cut off, so that loading it is another error.
    (model / 'model.safetensors').write_bytes(b'')
    assert (
        cli.main(
            [
                'evaluate',
                'folder',
                '--data',
                str(tmp_path / data),
                '--model',
                str(model),
                '--output',
                str(tmp_path / output),
            ]
        )
        == 1
    )
    assert remedy in capsys.readouterr().err


def test_predictions_of_another_split_or_dtype_are_refused(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make('refcoco', tmp_path)
    command = arguments('refcoco', data, start, tmp_path / 'output')
    assert cli.main(command) == 0
    for other in (['--split', 'testA'], ['--dtype', 'bfloat16']):
        assert cli.main([*command, *other]) == 1
        assert 'holds predictions of' in capsys.readouterr().err
    assert cli.main(command) == 0


def test_masks_of_a_video_equal_those_of_its_frames(start: Start, tmp_path: Path) -> None:
    data = make('revos', tmp_path)
    output = tmp_path / 'output'
    assert cli.main(arguments('revos', data, start, output)) == 0
    segmenter = Segmenter.from_pretrained(str(start.model))
    sample = data_set('revos').read(data, 'valid').samples[1]
    images = [frame.load() for frame in sample.frames]
    references = segmenter.encode([images[index] for index in (1, 2, 4, 5)])
    expression = segmenter.query(sample.instructions[0], verbatim=True)
    understood = segmenter.reason([[expression]], segmenter.encode([images[3]]), [references])
    [[alone]] = segmenter.decode(understood, segmenter.encode_pixels([images[3]]))
    file = output / 'predictions' / 'Annotations' / sample.key / '00003.png'
    np.testing.assert_array_equal(np.array(Image.open(file)) > 0, alone.mask)


def test_a_missing_data_option_is_an_error(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(['evaluate', 'pope', '--model', str(start.model)]) == 1
    assert 'name the folder of pope: --data DIR' in capsys.readouterr().err


def test_a_model_without_words_cannot_answer_questions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make('gqa', tmp_path)
    assert cli.main(['evaluate', 'gqa', '--data', str(data), '--output', str(tmp_path)]) == 1
    assert 'generates no text' in capsys.readouterr().err


def test_the_figures_of_a_model_are_compared_with_the_published_ones() -> None:
    revos, pope, folder = (data_set(name) for name in ('revos', 'pope', 'folder'))
    assert isinstance(revos, Benchmark) and isinstance(pope, Benchmark)
    rows = revos.comparison('valid', 'mine', {'overall': {'JF': 17.5}})
    assert rows[PAPER]['overall.JF'] == 54.5 and rows['mine'] == {'overall.JF': 17.5}
    assert pope.comparison('test', 'mine', {'F1': 0.5})['mine'] == {'F1': 50}
    assert revos.comparison('train', 'mine', {'overall': {'JF': 17.5}}) == {}
    assert isinstance(folder, Benchmark) and folder.comparison('val', 'mine', {'gIoU': 1}) == {}


def test_the_list_of_names_agrees_with_the_benchmarks() -> None:
    for name in names():
        data = data_set(name)
        assert isinstance(data, Benchmark) == (name in NAMES)
        scored = isinstance(data, MaskBenchmark) and data.score is not None
        assert scored == (name in names('score'))
        assert data.make_sample is not None or name not in names('make-sample')


def test_16_bit_images_are_evaluated_like_8_bit_ones(start: Start, tmp_path: Path) -> None:
    data = make('refcoco', tmp_path)
    answers = []
    for bits in (8, 16):
        for file in (data / 'images' / 'train2014').iterdir():
            with Image.open(file) as picture:
                values = np.array(picture.convert('L'))
            if bits == 16:
                values = values.astype(np.uint16) << 8
            Image.fromarray(values).save(file, 'PNG')
        output = tmp_path / str(bits)
        assert cli.main(arguments('refcoco', data, start, output)) == 0
        files = sorted((output / 'predictions').glob('*.png'))
        answers.append([np.array(Image.open(file)) for file in files])
    assert answers[0] and all(map(np.array_equal, *answers))
