from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from channel_model import segment_until_killed
from PIL import Image
from rosbags.rosbag2 import Reader

from instructseg_ros.streaming.instruction import InstructionError
from instructseg_ros.streaming.overlay import draw_overlay
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import State
from instructseg_ros.video import video_file
from instructseg_ros.video.bag import IMAGE
from instructseg_ros.video.bag_writer import SEGMENTATION, all_types
from instructseg_ros.video.record import read_records
from instructseg_ros.video.run_folder import LOCK, LockError, OutputError
from instructseg_ros.video.segment_video import FORMATS, Summary, segment_video
from instructseg_ros.video.source import SourceError, open_source, read_from
from instructseg_ros.video.video_file import VideoFile

MakeImages = Callable[[int], list[np.ndarray]]
Write = Callable[..., Path]
TEXTS = ('the red', 'all that is blue')
NAMES = ('the_red', 'all_that_is_blue')
PIECE = 10  # frames of a piece of video


@pytest.fixture
def run(make_model: Callable[..., Any], settings: EngineSettings) -> Callable[..., Summary]:
    def segment(
        path: Path,
        folder: Path,
        texts: tuple[str, ...] = TEXTS,
        *,
        last: int | None = None,
        model: Any = None,
        **options: Any,
    ) -> Summary:
        chosen = model or make_model(last=last)
        return segment_video(
            path, texts, folder, load=lambda: (chosen, settings), model='channels', **options
        )

    return segment


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_file, 'SEGMENT_FRAMES', PIECE)


@pytest.fixture
def video(tmp_path: Path, write_video: Write, make_images: MakeImages) -> Path:
    """35 frames at 30 Hz, but for a gap."""
    times = [number / 30 + (0.5 if number > 20 else 0) for number in range(35)]
    return write_video(tmp_path / 'video.mp4', make_images(35), times)


def written(folder: Path) -> list[Path]:
    """The files of a run without its lock, which names a process."""
    return sorted(
        file.relative_to(folder)
        for file in folder.rglob('*')
        if file.is_file() and file.name != LOCK
    )


def assert_same(first: Path, second: Path) -> None:
    """The same files, to the byte; but what an encoder makes of a video depends on its threads."""
    files = written(first)
    assert files == written(second)
    for file in files:
        if file.suffix != '.mp4':
            assert (first / file).read_bytes() == (second / file).read_bytes(), file
            continue
        for one, other in zip(
            VideoFile(first / file).read(), VideoFile(second / file).read(), strict=True
        ):
            assert one.info == other.info
            assert np.abs(one.image.astype(int) - other.image).mean() < 4


def never() -> Any:
    raise AssertionError('the model is not needed')


def test_every_frame_is_answered_for_every_instruction(
    tmp_path: Path, video: Path, run: Callable[..., Summary], make_images: MakeImages
) -> None:
    summary = run(video, tmp_path / 'masks')
    assert summary.frames == 35
    assert summary.states['the red'] == {State.FOUND: 30, State.NOT_FOUND: 5}
    assert summary.states['all that is blue'] == {State.NOT_FOUND: 35}
    lines = list(read_records(tmp_path / 'masks' / 'masks.jsonl'))
    for line, image in zip(lines, make_images(35), strict=True):
        red, blue = line.segmentations()
        assert red.mask is not None and blue.mask is not None and not blue.mask.any()
        assert (red.mask ^ (image[..., 0] > 127)).mean() < 0.02
    assert [line.answers[0]['reference_frames'] for line in lines[:13:4]] == [0, 1, 1, 2]


def test_masks_are_written_as_images(
    tmp_path: Path, write_folder: Write, make_images: MakeImages, run: Callable[..., Summary]
) -> None:
    folder = write_folder(tmp_path / 'frames', make_images(8), 'view{}.png')
    run(folder, tmp_path / 'masks', formats=['png'])
    for number, image in enumerate(make_images(8)):
        with Image.open(tmp_path / 'masks' / 'png' / 'the_red' / f'view{number}.png') as mask:
            assert mask.mode == 'L'
            assert np.array_equal(np.array(mask), np.where(image[..., 0] > 127, 255, 0))
    assert len(list((tmp_path / 'masks' / 'png' / 'all_that_is_blue').iterdir())) == 8


def test_overlays_are_videos_with_the_times_of_the_source(
    tmp_path: Path, video: Path, run: Callable[..., Summary]
) -> None:
    run(video, tmp_path / 'masks', formats=['overlay'])
    assert {file.name for file in (tmp_path / 'masks' / 'overlay').iterdir()} == {
        f'{name}.mp4' for name in NAMES
    }
    lines = list(read_records(tmp_path / 'masks' / 'masks.jsonl'))
    for number, name in enumerate(NAMES):
        drawn = list(VideoFile(tmp_path / 'masks' / 'overlay' / f'{name}.mp4').read())
        frames = list(VideoFile(video).read())
        assert len(drawn) == 35
        for overlay, frame, line in zip(drawn, frames, lines, strict=True):
            assert overlay.info.stamp == pytest.approx(frame.info.stamp, abs=50_000)
            wanted = draw_overlay(frame.image, line.segmentations()[number])
            assert np.abs(overlay.image.astype(int) - wanted).mean() < 12


def test_images_of_several_and_odd_sizes_become_one_video(
    tmp_path: Path, write_folder: Write, make_images: MakeImages, run: Callable[..., Summary]
) -> None:
    images = make_images(3)
    folder = write_folder(tmp_path / 'frames', [images[0][:47, :63], images[1], images[2].copy()])
    run(folder, tmp_path / 'masks', formats=['overlay'])
    frames = list(VideoFile(tmp_path / 'masks' / 'overlay' / 'the_red.mp4').read())
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 3


@pytest.fixture
def bag(
    tmp_path: Path, write_bag: Write, image_message: Callable[..., Any], make_images: MakeImages
) -> Path:
    return write_bag(
        tmp_path / 'camera',
        [
            ('/camera', 10**18 + n * 10**8, image_message(image, 9 * 10**17 + n * 10**8))
            for n, image in enumerate(make_images(9))
        ],
    )


def test_masks_become_a_bag_with_the_headers_of_the_images(
    tmp_path: Path, bag: Path, run: Callable[..., Summary], make_images: MakeImages
) -> None:
    run(bag, tmp_path / 'masks', formats=['bag'])
    with Reader(tmp_path / 'masks' / 'bag') as reader:
        assert {topic: one.msgtype for topic, one in reader.topics.items()} == {
            '/segmentation': SEGMENTATION,
            '/mask/the_red': IMAGE,
            '/mask/all_that_is_blue': IMAGE,
        }
        read = [
            (connection.topic, time, all_types().deserialize_cdr(raw, connection.msgtype))
            for connection, time, raw in reader.messages()
        ]
    for topic, text in (('/mask/the_red', 'the red'), ('/mask/all_that_is_blue', TEXTS[1])):
        masks = [(time, message) for name, time, message in read if name == topic]
        answers: list[Any] = [
            message
            for name, _, message in read
            if name == '/segmentation' and message.instruction == text
        ]
        assert len(masks) == len(answers) == 9
        for n, ((time, mask), answer) in enumerate(zip(masks, answers, strict=True)):
            assert time == 10**18 + n * 10**8
            assert mask.header.stamp.sec * 10**9 + mask.header.stamp.nanosec == time - 10**17
            assert mask.header.frame_id == 'camera' and answer.header == mask.header
            wanted = (make_images(9)[n][..., 0] > 127) & (text == 'the red')
            assert np.array_equal(mask.data.reshape(48, 64), wanted * 255)
            assert answer.state == (1 if wanted.any() else 2)
            assert bool(answer.reason) != bool(wanted.any())
            assert answer.area == wanted.sum() and answer.mask.width == 64 * wanted.any()
            assert answer.final == (n == 8)


def test_a_video_without_times_gives_a_bag_that_begins_at_nought(
    tmp_path: Path, video: Path, run: Callable[..., Summary]
) -> None:
    run(video, tmp_path / 'masks', formats=['bag'])
    with Reader(tmp_path / 'masks' / 'bag') as reader:
        assert reader.start_time == 0 and reader.message_count == 4 * 35


@pytest.mark.parametrize('kind', ['video', 'folder', 'bag'])
@pytest.mark.parametrize('last', [0, 1, 17])
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(
    tmp_path: Path,
    video: Path,
    write_folder: Write,
    write_bag: Write,
    image_message: Callable[..., Any],
    make_images: MakeImages,
    run: Callable[..., Summary],
    kind: str,
    last: int,
) -> None:
    path = video
    if kind == 'folder':
        path = write_folder(tmp_path / 'frames', make_images(35))
    if kind == 'bag':
        path = write_bag(
            tmp_path / 'camera',
            [
                (
                    '/camera',
                    n * 10**9 // 30 // 2 * 2,
                    image_message(image, 10**15 + n * 10**9 // 30),
                )
                for n, image in enumerate(make_images(35))
            ],
        )
    run(path, tmp_path / 'whole', formats=FORMATS)
    segment_until_killed(path, tmp_path / 'masks', TEXTS, formats=FORMATS, piece=PIECE, last=last)
    record = tmp_path / 'masks' / 'masks.jsonl'
    assert len(record.read_bytes().splitlines()) == last
    with record.open('ab') as torn:
        torn.write(b'{"frame": ')
    assert run(path, tmp_path / 'masks', formats=FORMATS).frames == 35
    assert_same(tmp_path / 'masks', tmp_path / 'whole')


def test_only_what_is_left_and_what_it_is_compared_with_is_shown_to_the_model(
    tmp_path: Path,
    write_folder: Write,
    make_images: MakeImages,
    make_model: Callable[..., Any],
    run: Callable[..., Summary],
) -> None:
    folder = write_folder(tmp_path / 'frames', make_images(90))
    segment_until_killed(folder, tmp_path / 'masks', TEXTS, piece=PIECE, last=60)
    model = make_model()
    run(folder, tmp_path / 'masks', model=model)
    assert 30 < model.decoded < 50


def test_a_run_may_be_killed_while_videos_are_drawn(
    tmp_path: Path, video: Path, run: Callable[..., Summary]
) -> None:
    run(video, tmp_path / 'whole', formats=FORMATS)
    segment_until_killed(
        video, tmp_path / 'masks', TEXTS, formats=FORMATS, piece=PIECE, drawn=2 * 23
    )
    pieces = tmp_path / 'masks' / 'incomplete' / 'overlay' / 'segments'
    assert len(list(pieces.rglob('*.mp4'))) == 4
    segment_video(video, TEXTS, tmp_path / 'masks', load=never, model='channels', formats=FORMATS)
    assert_same(tmp_path / 'masks', tmp_path / 'whole')


def test_formats_can_be_added_without_the_model(
    tmp_path: Path, video: Path, run: Callable[..., Summary]
) -> None:
    run(video, tmp_path / 'masks', formats=['rle'])
    assert {file.name for file in (tmp_path / 'masks').iterdir()} == {
        LOCK,
        'run.json',
        'masks.jsonl',
    }
    before = (tmp_path / 'masks' / 'masks.jsonl').read_bytes()
    segment_video(video, TEXTS, tmp_path / 'masks', load=never, model='channels', formats=FORMATS)
    assert {file.name for file in (tmp_path / 'masks').iterdir()} == {
        LOCK,
        'run.json',
        'masks.jsonl',
        'png',
        'overlay',
        'bag',
    }
    assert (tmp_path / 'masks' / 'masks.jsonl').read_bytes() == before


def test_a_run_can_begin_anew(tmp_path: Path, video: Path, run: Callable[..., Summary]) -> None:
    run(video, tmp_path / 'masks')
    with pytest.raises(OutputError, match='--overwrite'):
        run(video, tmp_path / 'masks', ('the green',))
    run(video, tmp_path / 'masks', ('the green',), overwrite=True)
    assert [file.name for file in (tmp_path / 'masks' / 'overlay').iterdir()] == ['the_green.mp4']


def test_tracks_are_numbered_from_one(
    tmp_path: Path, video: Path, run: Callable[..., Summary]
) -> None:
    for name in ('first', 'second'):  # ids go on within a process
        run(video, tmp_path / name, formats=['rle'])
        lines = (tmp_path / name / 'masks.jsonl').read_text().splitlines()
        tracks = [json.loads(line)['answers'][0]['track_id'] for line in lines]
        assert set(tracks) == {0, 1}


def test_nothing_accumulates(
    tmp_path: Path,
    write_folder: Write,
    make_images: MakeImages,
    make_model: Callable[..., Any],
    run: Callable[..., Summary],
) -> None:
    folder = write_folder(tmp_path / 'frames', make_images(60))
    model = make_model()
    held = []
    encode = model.encode
    model.encode = lambda image: held.append(model.alive()) or encode(image)
    run(folder, tmp_path / 'masks', model=model, formats=['rle'])
    assert max(held) <= 12 and held[20] >= max(held[21:]) - 1


def test_an_instruction_is_given_once(
    tmp_path: Path, video: Path, run: Callable[..., Summary]
) -> None:
    with pytest.raises(InstructionError, match='"the red" is given 2 times'):
        run(video, tmp_path / 'masks', ('the red', ' the  red'))
    with pytest.raises(InstructionError, match='empty'):
        run(video, tmp_path / 'masks', ('the red', ''))
    assert not (tmp_path / 'masks').exists()


def test_a_source_that_cannot_be_read_leaves_no_folder(
    tmp_path: Path, run: Callable[..., Summary]
) -> None:
    (tmp_path / 'video.mp4').write_text('no video')
    with pytest.raises(SourceError):
        run(tmp_path / 'video.mp4', tmp_path / 'masks')
    assert not (tmp_path / 'masks').exists()


def test_a_video_that_was_replaced_is_missed(
    tmp_path: Path,
    video: Path,
    write_video: Write,
    make_images: MakeImages,
    run: Callable[..., Summary],
) -> None:
    segment_until_killed(video, tmp_path / 'masks', TEXTS, piece=PIECE, last=30)
    write_video(video, make_images(10))
    with pytest.raises(OutputError, match=r'another run \(bytes'):
        run(video, tmp_path / 'masks')


def test_two_runs_do_not_write_to_one_folder(
    tmp_path: Path, video: Path, run: Callable[..., Summary]
) -> None:
    hold = (
        'import pathlib, sys; from instructseg_ros.video.run_folder import locked\n'
        'with locked(pathlib.Path(sys.argv[1])): print(flush=True); sys.stdin.read()'
    )
    with subprocess.Popen(
        [sys.executable, '-c', hold, str(tmp_path / 'masks')],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(LockError, match='another run'):
            run(video, tmp_path / 'masks')
        other.communicate()
    assert run(video, tmp_path / 'masks').frames == 35


def test_images_of_sixteen_bits_keep_their_scale_when_a_run_is_resumed(
    tmp_path: Path, run: Callable[..., Summary]
) -> None:
    folder = tmp_path / 'frames'
    folder.mkdir()
    for number in range(20):  # The second frame shows that the sensor has 12 bits.
        gray = np.full((48, 64), 900, np.uint16)
        gray[number : number + 9, :20] = 4000 if number == 1 else 1000
        Image.fromarray(gray).save(folder / f'{number}.png')
    frames = list(open_source(folder).read())
    assert [frame.info.bits for frame in frames] == [10] + [12] * 19
    for before, again in zip(
        frames[5:], read_from(open_source(folder), frames[5].info), strict=True
    ):
        assert np.array_equal(before.image, again.image)
    segment_until_killed(folder, tmp_path / 'killed', TEXTS, piece=PIECE, last=12)
    run(folder, tmp_path / 'killed', formats=FORMATS)
    run(folder, tmp_path / 'whole', formats=FORMATS)
    assert_same(tmp_path / 'killed', tmp_path / 'whole')


def test_files_beside_the_frames_do_not_make_another_source(
    tmp_path: Path, write_folder: Write, make_images: MakeImages, run: Callable[..., Summary]
) -> None:
    folder = write_folder(tmp_path / 'frames', make_images(3))
    run(folder, tmp_path / 'masks')
    (folder / '.DS_Store').write_bytes(b'Mac')
    (folder / 'notes.txt').write_text('three frames')
    assert run(folder, tmp_path / 'masks').frames == 3
    Image.fromarray(make_images(4)[3]).save(folder / 'frame3.png')
    with pytest.raises(OutputError, match='bytes'):
        run(folder, tmp_path / 'masks')


def test_a_video_of_the_same_name_in_another_folder_is_another_source(
    tmp_path: Path, write_video: Write, make_images: MakeImages, run: Callable[..., Summary]
) -> None:
    for number, day in enumerate(('day1', 'day2')):
        (tmp_path / day).mkdir()
        write_video(tmp_path / day / 'front.mp4', make_images(5)[number:])
    run(tmp_path / 'day1' / 'front.mp4', tmp_path / 'masks')
    with pytest.raises(OutputError, match=r'day1.*not.*day2'):
        run(tmp_path / 'day2' / 'front.mp4', tmp_path / 'masks')
    assert run(tmp_path / 'day1' / '..' / 'day1' / 'front.mp4', tmp_path / 'masks').frames == 5


def test_a_video_that_was_changed_is_another_source(
    tmp_path: Path, video: Path, run: Callable[..., Summary]
) -> None:
    run(video, tmp_path / 'masks')
    os.utime(video, (1, 1))
    with pytest.raises(OutputError, match=r'modified .*1970-01-01'):
        run(video, tmp_path / 'masks')


def test_a_video_that_was_cut_in_half_reports_how_many_frames_could_be_read(
    tmp_path: Path, video: Path, cut_video: Write, run: Callable[..., Summary]
) -> None:
    cut = cut_video(video, tmp_path / 'cut.mp4', 0.75)
    summary = run(cut, tmp_path / 'masks', formats=('rle', 'png'))
    assert (5 < summary.frames < 30, summary.announced, summary.is_short) == (True, 35, True)
    assert run(cut, tmp_path / 'masks', formats=FORMATS).frames == summary.frames
    assert not run(video, tmp_path / 'whole').is_short


@pytest.mark.parametrize('killed', [False, True])
def test_an_unreadable_image_ends_neither_a_run_nor_its_resumption(
    tmp_path: Path,
    write_folder: Write,
    make_images: MakeImages,
    run: Callable[..., Summary],
    killed: bool,
) -> None:
    folder = write_folder(tmp_path / 'frames', make_images(20))
    for number in (3, 13, 14):
        (folder / f'frame{number}.png').write_bytes(b'no image')
    if killed:
        segment_until_killed(folder, tmp_path / 'masks', TEXTS, piece=PIECE, last=10)
    assert run(folder, tmp_path / 'masks', formats=FORMATS).frames == 17
    names = [line.info.name for line in read_records(tmp_path / 'masks' / 'masks.jsonl')]
    assert names == [f'frame{n}.png' for n in range(20) if n not in (3, 13, 14)]


def test_a_name_with_a_colon_is_read_and_written(
    tmp_path: Path, video: Path, run: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    video.rename('12:30.mp4')
    assert run(Path('12:30.mp4'), Path('12:30_masks')).frames == 35
    overlay = tmp_path / '12:30_masks' / 'overlay' / 'the_red.mp4'
    assert len(list(VideoFile(overlay).read())) == 35


def test_an_answer_that_failed_is_told(
    tmp_path: Path, video: Path, run: Callable[..., Summary]
) -> None:
    summary = run(video, tmp_path / 'masks', ('the red', 'the ultraviolet'), formats=FORMATS)
    assert summary.states['the ultraviolet'] == {State.FAILED: 35}
    assert summary.states['the red'][State.FOUND] == 30


def test_no_memory_is_told_and_the_run_can_go_on(
    tmp_path: Path, video: Path, make_model: Callable[..., Any], run: Callable[..., Summary]
) -> None:
    model = make_model()
    encode = model.encode

    def encode_some(images: Sequence[np.ndarray]) -> list[float]:
        if len(model.images) == 12:
            raise MemoryError('all 4 GB are taken')
        return encode(images)

    model.encode = encode_some
    with pytest.raises(RuntimeError, match=r'all 4 GB are taken.*the same command resumes here'):
        run(video, tmp_path / 'masks', model=model)
    assert run(video, tmp_path / 'masks').frames == 35


def test_videos_are_joined_without_encoding_them_anew(
    tmp_path: Path, video: Path, run: Callable[..., Summary]
) -> None:
    run(video, tmp_path / 'masks')
    with av.open(str(tmp_path / 'masks' / 'overlay' / 'the_red.mp4')) as joined:
        keys = [packet.pts for packet in joined.demux(video=0) if packet.is_keyframe]
    assert len(keys) == 4  # one for each piece
