"""The command `instructseg video`, with the embedded model on frames of the shipped recording."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from instructseg_ros.cli.main import main
from instructseg_ros.tabletop.world.recording import Recording
from instructseg_ros.video.rle import decode_mask

Write = Callable[..., Path]


def failed(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a failing command prints."""
    assert main(['video', *arguments]) == 1
    captured = capfd.readouterr()
    assert captured.out == ''
    assert captured.err.startswith('instructseg: ') and captured.err.count('\n') == 1
    return captured.err


def test_a_video_of_the_recording_is_segmented(
    tmp_path: Path,
    write_video: Write,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with Recording() as recording:
        seen = [recording.observe(number / 15) for number in range(4)]
    write_video(tmp_path / 'table.mp4', [one.rgb for one in seen], [n / 15 for n in range(4)])
    arguments = ['video', 'table.mp4', 'the black car', 'the green bowl', '--device', 'cpu']
    assert main([*arguments, '--formats', 'png', 'rle', 'overlay', 'bag']) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        '4 frames in table_masks',
        'the black car: 4 FOUND',
        'the green bowl: 4 NOT_FOUND',
    ]
    assert 'segment: 100%' in captured.err and 'frames/s' in captured.err
    lines = (tmp_path / 'table_masks' / 'masks.jsonl').read_text().splitlines()
    for number, (line, one) in enumerate(zip(lines, seen, strict=True)):
        label = next(t.label for t in one.graph if (t.color, t.category) == ('black', 'car'))
        mask, truth = decode_mask(json.loads(line)['answers'][0]['segmentation']), one.labels
        assert truth is not None
        assert (mask & (truth == label)).sum() > 0.8 * (mask | (truth == label)).sum()
        file = tmp_path / 'table_masks' / 'png' / 'the_black_car' / f'{number:06d}.png'
        assert np.array_equal(np.array(Image.open(file)) > 0, mask)
    assert (tmp_path / 'table_masks' / 'overlay' / 'the_green_bowl.mp4').stat().st_size
    assert (tmp_path / 'table_masks' / 'bag' / 'metadata.yaml').is_file()


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        (['none.mp4', 'the mug'], 'none.mp4 does not exist'),
        (['video.mp4', 'the mug'], 'video.mp4 cannot be read as a video'),
        (['video.mp4', 'the mug', 'the mug'], 'given 2 times'),
        (['video.mp4', '?'], 'say what to segment'),
        (['.', 'the mug'], 'neither a bag'),
    ],
)
def test_bad_input_is_answered_in_one_line(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'video.mp4').write_text('no video')
    assert told in failed(capfd, *arguments)
    assert [file.name for file in tmp_path.iterdir()] == ['video.mp4']


@pytest.fixture
def fresh_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures('fresh_threads')
def test_the_number_of_threads_is_limited(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    failed(capfd, str(tmp_path / 'none.mp4'), 'the mug', '--threads', '3')
    assert torch.get_num_threads() == 3


def test_a_missing_model_is_answered_in_one_line(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    write_folder: Write,
    make_images: Callable[[int], list[np.ndarray]],
) -> None:
    folder = write_folder(tmp_path / 'frames', make_images(1))
    message = failed(
        capfd, str(folder), 'the mug', '--model', '/no/such/model', '-o', str(tmp_path / 'masks')
    )
    assert '/no/such/model' in message


def test_a_truncated_video_is_reported_with_both_numbers_of_frames(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    write_video: Write,
    cut_video: Write,
    make_images: Callable[[int], list[np.ndarray]],
    tiny_model_dir: Path,
) -> None:
    video = write_video(tmp_path / 'video.mp4', make_images(20), gop=1)
    cut = cut_video(video, tmp_path / 'cut.mp4', 0.5)
    assert (
        main(
            [
                'video',
                str(cut),
                'the mug',
                '--model',
                str(tiny_model_dir),
                '--formats',
                'rle',
                '-o',
                str(tmp_path / 'masks'),
            ]
        )
        == 0
    )
    assert re.match(
        r'\d+ of 20 frames in .*the others are damaged or missing', capsys.readouterr().out
    )


def test_another_model_of_the_same_name_does_not_resume_a_run(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    write_folder: Write,
    make_images: Callable[[int], list[np.ndarray]],
    tiny_model_dir: Path,
) -> None:
    folder, model = write_folder(tmp_path / 'frames', make_images(1)), tmp_path / 'model'
    shutil.copytree(tiny_model_dir, model)
    arguments = [
        str(folder),
        'the mug',
        '--model',
        str(model),
        '--formats',
        'rle',
        '-o',
        str(tmp_path / 'masks'),
    ]
    assert main(['video', *arguments]) == 0
    weights = load_file(model / 'model.safetensors')
    others = {name: np.asarray(values + 1) for name, values in weights.items()}
    save_file(others, model / 'model.safetensors', metadata={'format': 'pt'})
    capfd.readouterr()
    assert 'masks of another run (model' in failed(capfd, *arguments)


def test_an_unknown_format_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['video', 'video.mp4', 'the mug', '--formats', 'gif'])
    assert "'gif'" in capsys.readouterr().err
