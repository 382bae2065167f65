from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from instructseg_ros.video.source import SourceError, open_source, read_from
from instructseg_ros.video.video_file import MissingPyAVError, VideoFile

MakeImages = Callable[[int], list[np.ndarray]]
WriteVideo = Callable[..., Path]


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference of two images of one size."""
    assert first.shape == second.shape
    return float(np.abs(first.astype(int) - second).mean())


def test_frames_come_with_their_images_and_times(
    tmp_path: Path, write_video: WriteVideo, make_images: MakeImages
) -> None:
    source = open_source(write_video(tmp_path / 'video.mp4', make_images(10)))
    frames = list(source.read())
    assert source.count == len(frames) == 10
    for number, (frame, image) in enumerate(zip(frames, make_images(10), strict=True)):
        assert difference(frame.image, image) < 6
        assert frame.info.stamp == pytest.approx(number * 1e9 / 30, abs=1e6)
        assert frame.info.recorded == frame.info.stamp


def test_every_frame_of_a_varying_rate_has_its_own_time(
    tmp_path: Path, write_video: WriteVideo, make_images: MakeImages
) -> None:
    times = [0.0, 0.04, 0.05, 0.5, 0.52, 2.0]
    video = VideoFile(write_video(tmp_path / 'video.mp4', make_images(6), times))
    assert [frame.info.stamp for frame in video.read()] == pytest.approx(
        [1e9 * time for time in times], abs=1e6
    )


@pytest.mark.parametrize('rotation', [90, 180, -90])
def test_frames_are_turned_as_the_camera_was_held(
    tmp_path: Path, write_video: WriteVideo, make_images: MakeImages, rotation: int
) -> None:
    video = write_video(tmp_path / 'video.mp4', make_images(2), rotation=rotation)
    frame = next(VideoFile(video).read())
    assert difference(frame.image, np.rot90(make_images(1)[0], rotation // 90)) < 6


@pytest.mark.parametrize('gop', [1, 7, 100])
def test_reading_resumes_at_any_frame(
    tmp_path: Path, write_video: WriteVideo, make_images: MakeImages, gop: int
) -> None:
    video = VideoFile(write_video(tmp_path / 'video.mp4', make_images(75), gop=gop))
    whole = list(video.read())
    for number in (1, 30, 31, 52, 74):
        rest = list(read_from(video, whole[number].info))
        assert len(rest) == 75 - number
        for before, again in zip(whole[number:], rest, strict=True):
            assert before.info == again.info
            assert np.array_equal(before.image, again.image)


def test_reading_resumes_without_decoding_all_earlier_frames(
    tmp_path: Path, write_video: WriteVideo, make_images: MakeImages
) -> None:
    video = VideoFile(write_video(tmp_path / 'video.mp4', make_images(150), gop=15))
    first = next(video.read(4 * 10**9))
    assert 2.4 * 10**9 < first.info.recorded <= 4 * 10**9


def test_a_container_that_cannot_seek_is_read_from_its_start(
    tmp_path: Path, write_video: WriteVideo, make_images: MakeImages
) -> None:
    file = tmp_path / 'raw.h264'
    with (
        av.open(str(write_video(tmp_path / 'video.mp4', make_images(40)))) as video,
        av.open(str(file), 'w', format='h264') as raw,
    ):
        stream = raw.add_stream_from_template(video.streams.video[0])
        for packet in video.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                raw.mux(packet)
    whole = list(VideoFile(file).read())
    assert len(whole) == 40
    assert whole[39].info.stamp > whole[1].info.stamp > 0
    assert len(list(read_from(VideoFile(file), whole[35].info))) == 5


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    file = tmp_path / 'video.mp4'
    for content in (b'', b'no video at all', b'#EXTM3U\nhttp://localhost/video.mp4\n'):
        file.write_bytes(content)
        with pytest.raises(SourceError, match=f'{file} cannot be read as a video') as refusal:
            list(open_source(file).read())
        assert 'pass an mp4' in str(refusal.value)


def test_a_video_without_images_is_named(tmp_path: Path) -> None:
    file = tmp_path / 'sound.mp4'
    with av.open(str(file), 'w') as container:
        stream = container.add_stream('aac', rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), 'fltp', 'mono')
        sound.rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match='only sound'):
        open_source(file)


def test_damaged_frames_are_left_out_and_reported(
    tmp_path: Path,
    write_video: WriteVideo,
    make_images: MakeImages,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = write_video(tmp_path / 'video.mp4', make_images(30), gop=1)
    with av.open(str(file)) as video:
        places = [(packet.pos, packet.size) for packet in video.demux(video=0) if packet.size]
    content = bytearray(file.read_bytes())
    start, size = places[10]
    content[start : start + size] = bytes([255]) * size
    file.write_bytes(content)
    stamps = [frame.info.stamp for frame in VideoFile(file).read()]
    assert 28 <= len(stamps) <= 29 and stamps == sorted(stamps)
    assert 'a damaged frame is skipped' in caplog.text


def test_a_name_with_a_colon_is_a_file_and_not_an_address(
    tmp_path: Path,
    write_video: WriteVideo,
    make_images: MakeImages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / 'video.mp4', make_images(3)).rename('12:30:00.mp4')
    assert len(list(open_source(Path('12:30:00.mp4')).read())) == 3


def test_a_cover_image_is_no_video_stream(
    tmp_path: Path, write_video: WriteVideo, make_images: MakeImages
) -> None:
    plain, covered = write_video(tmp_path / 'video.mp4', make_images(5)), tmp_path / 'covered.mp4'
    cover = np.full((30, 40, 3), 99, np.uint8)
    with av.open(str(plain)) as video, av.open(str(covered), 'w') as target:
        image = target.add_stream('mjpeg', rate=1)
        image.width, image.height, image.pix_fmt = 40, 30, 'yuvj420p'
        image.disposition = Disposition.attached_pic
        stream = target.add_stream_from_template(video.streams.video[0])
        target.mux(image.encode(av.VideoFrame.from_ndarray(cover, format='rgb24')))
        target.mux(image.encode(None))
        for packet in video.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    put_cover_first(covered)
    with av.open(str(covered)) as video:
        assert video.streams.video[0].disposition & Disposition.attached_pic
    frames = list(VideoFile(covered).read())
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 5


def put_cover_first(file: Path) -> None:
    """Move the description that holds the cover of an mp4 before its tracks."""
    content = file.read_bytes()
    start = content.rindex(b'moov') - 4
    boxes, position = [], start + 8
    while position < start + int.from_bytes(content[start : start + 4], 'big'):
        size = int.from_bytes(content[position : position + 4], 'big')
        boxes.append(content[position : position + size])
        position += size
    boxes.sort(key=lambda box: box[4:8] not in (b'mvhd', b'udta'))
    file.write_bytes(content[: start + 8] + b''.join(boxes) + content[position:])


def test_times_that_start_over_in_joined_files_continue(
    tmp_path: Path, write_video: WriteVideo, make_images: MakeImages
) -> None:
    video, joined = tmp_path / 'video.mp4', tmp_path / 'joined.ts'
    streams = []
    for number in (0, 1):
        write_video(video, make_images(40), gop=1)
        part = tmp_path / f'{number}.ts'
        with av.open(str(video)) as source, av.open(str(part), 'w', format='mpegts') as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        streams.append(part.read_bytes())
    joined.write_bytes(b''.join(streams))
    places = [frame.info for frame in VideoFile(joined).read()]
    times = [place.recorded for place in places]
    assert len(times) == 80 and times == sorted(set(times))
    assert times[-1] == pytest.approx(79 / 30 * 10**9, rel=0.02)
    assert len(list(read_from(VideoFile(joined), places[60]))) == 20


def test_a_truncated_video_is_named(
    tmp_path: Path, write_video: WriteVideo, make_images: MakeImages
) -> None:
    file = write_video(tmp_path / 'video.mp4', make_images(30))
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(SourceError, match='cannot be read as a video'):
        open_source(file)


def test_a_missing_library_is_named(
    tmp_path: Path,
    write_video: WriteVideo,
    make_images: MakeImages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = write_video(tmp_path / 'video.mp4', make_images(1))
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(MissingPyAVError, match='pip install av'):
        open_source(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'none\.mp4 does not exist'):
        open_source(tmp_path / 'none.mp4')


def test_a_video_has_no_topics(
    tmp_path: Path, write_video: WriteVideo, make_images: MakeImages
) -> None:
    with pytest.raises(SourceError, match='leave --topic out'):
        open_source(write_video(tmp_path / 'video.mp4', make_images(1)), topic='/image')
