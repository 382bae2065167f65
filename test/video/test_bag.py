from __future__ import annotations

import io
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import Writer as McapWriter
from PIL import Image
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore

from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.tabletop.world.recording import SHIPPED, Recording
from instructseg_ros.video.bag import BagImages, BagReader, open_storage, standard_types
from instructseg_ros.video.source import SourceError, open_source, read_from

MakeImages = Callable[[int], list[np.ndarray]]
Make = Callable[..., Any]
WriteBag = Callable[..., Path]


def encoded(image: np.ndarray, kind: str, quality: int = 95) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, quality=quality)
    return file.getvalue()


def ros1_image(types: Any, image: np.ndarray, number: int) -> Any:
    time = types.types['builtin_interfaces/msg/Time'](sec=0, nanosec=number)
    header = types.types['std_msgs/msg/Header'](seq=number, stamp=time, frame_id='camera')
    return types.types['sensor_msgs/msg/Image'](
        header=header,
        height=image.shape[0],
        width=image.shape[1],
        encoding='rgb8',
        is_bigendian=0,
        step=3 * image.shape[1],
        data=image.ravel(),
    )


@pytest.fixture
def red_and_blue() -> np.ndarray:
    """(4, 6, 3), red on the left and blue on the right."""
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, :3, 0], image[:, 3:, 2] = 200, 100
    return image


@pytest.mark.parametrize('mcap', [True, False])
def test_frames_come_with_their_images_stamps_and_headers(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, make_images: MakeImages, mcap: bool
) -> None:
    messages = [
        ('/camera', 10 * NANO + n, image_message(image, 5 * NANO + 1000 * n))
        for n, image in enumerate(make_images(5))
    ]
    bag = write_bag(tmp_path / 'bag', messages, mcap=mcap)
    for path in (bag, next(file for file in bag.iterdir() if file.suffix != '.yaml')):
        source = open_source(path)
        frames = list(source.read())
        assert source.count == len(frames) == 5
        for n, (frame, image) in enumerate(zip(frames, make_images(5), strict=True)):
            assert np.array_equal(frame.image, image)
            assert frame.info.stamp == 5 * NANO + 1000 * n
            assert frame.info.recorded == 10 * NANO + n
            assert frame.info.frame_id == 'camera'


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', '8UC3', 'rgba8', 'bgra8'])
@pytest.mark.parametrize('padding', [0, 5])
def test_colors_of_every_encoding_are_read(
    tmp_path: Path,
    write_bag: WriteBag,
    image_message: Make,
    red_and_blue: np.ndarray,
    encoding: str,
    padding: int,
) -> None:
    pixels = red_and_blue if encoding.startswith('rgb') else red_and_blue[..., ::-1]
    if 'a' in encoding:
        pixels = np.concatenate([pixels, np.full((4, 6, 1), 9, np.uint8)], axis=2)
    message = image_message(pixels, encoding=encoding, padding=padding)
    [frame] = BagImages(write_bag(tmp_path / 'bag', [('/camera', 1, message)])).read()
    assert np.array_equal(frame.image, red_and_blue)


@pytest.mark.parametrize(
    ('encoding', 'kind', 'shift'),
    [('mono8', '<u1', 0), ('8UC1', '<u1', 0), ('mono16', '<u2', 8), ('mono16', '>u2', 8)],
)
def test_gray_of_every_encoding_is_read(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, encoding: str, kind: str, shift: int
) -> None:
    gray = np.arange(200, 224, dtype=np.uint8).reshape(4, 6)
    pixels = (gray.astype(np.uint16) << shift).astype(kind)
    message = image_message(pixels, encoding=encoding, padding=2, big=kind[0] == '>')
    [frame] = BagImages(write_bag(tmp_path / 'bag', [('/camera', 1, message)])).read()
    assert np.array_equal(frame.image, np.repeat(gray[..., None], 3, axis=2))


def test_mono16_of_a_sensor_of_12_bits_is_bright_and_does_not_flicker(
    tmp_path: Path, write_bag: WriteBag, image_message: Make
) -> None:
    messages = [
        ('/camera', n + 1, image_message(np.full((4, 6), value, '<u2'), encoding='mono16'))
        for n, value in enumerate((4000, 500, 2000))
    ]
    frames = list(BagImages(write_bag(tmp_path / 'bag', messages)).read())
    assert [int(frame.image.max()) for frame in frames] == [4000 >> 4, 500 >> 4, 2000 >> 4]


def test_infrared_or_depth_is_refused_with_both_remedies(
    tmp_path: Path, write_bag: WriteBag, image_message: Make
) -> None:
    message = image_message(np.full((4, 6), 900, '<u2'), encoding='16UC1')
    with pytest.raises(SourceError, match='may be depth or infrared'):
        list(BagImages(write_bag(tmp_path / 'bag', [('/camera', 1, message)])).read())


def test_compressed_images_are_read(
    tmp_path: Path, write_bag: WriteBag, compressed_message: Make, make_images: MakeImages
) -> None:
    images = make_images(2)
    deep = (images[1][..., 0].astype(np.uint16) << 8) + 3
    messages = [
        compressed_message(encoded(images[0], 'JPEG')),
        compressed_message(encoded(images[1], 'PNG'), format='png'),
        compressed_message(encoded(deep, 'PNG'), format='mono16; png compressed'),
    ]
    bag = write_bag(
        tmp_path / 'bag', [('/camera/compressed', n, message) for n, message in enumerate(messages)]
    )
    jpeg, png, gray = (frame.image for frame in BagImages(bag).read())
    assert np.abs(jpeg.astype(int) - images[0]).mean() < 6
    assert np.array_equal(png, images[1])
    assert np.array_equal(gray, np.repeat(images[1][..., :1], 3, axis=2))


def test_a_camera_without_a_clock_gets_the_log_times_of_the_bag(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, make_images: MakeImages
) -> None:
    bag = write_bag(
        tmp_path / 'bag',
        [('/camera', 100 * n, image_message(image)) for n, image in enumerate(make_images(3), 1)],
    )
    assert [frame.info.stamp for frame in BagImages(bag).read()] == [100, 200, 300]


def test_reading_resumes_at_any_image(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, make_images: MakeImages
) -> None:
    bag = BagImages(
        write_bag(
            tmp_path / 'bag',
            [  # two at a time have the same log time
                ('/camera', n // 2 * NANO, image_message(image, (1 + n) * NANO))
                for n, image in enumerate(make_images(8))
            ],
        )
    )
    for number, frame in enumerate(list(bag.read())):
        stamps = [later.info.stamp for later in read_from(bag, frame.info)]
        assert stamps == [(1 + n) * NANO for n in range(number, 8)]


def test_one_of_several_topics_must_be_named(
    tmp_path: Path,
    write_bag: WriteBag,
    image_message: Make,
    compressed_message: Make,
    make_images: MakeImages,
) -> None:
    image, other = make_images(2)
    bag = write_bag(
        tmp_path / 'bag',
        [
            ('/left', 1, image_message(image)),
            ('/left', 2, image_message(image)),
            ('/right/compressed', 1, compressed_message(encoded(other, 'PNG'))),
        ],
    )
    with pytest.raises(SourceError, match='--topic') as refusal:
        open_source(bag)
    assert '/left (2 of Image), /right/compressed (1 of CompressedImage)' in str(refusal.value)
    source = open_source(bag, topic='/right/compressed')
    assert source.count == 1 and np.array_equal(next(source.read()).image, other)
    with pytest.raises(SourceError, match=r'no images on "/middle".*/left'):
        open_source(bag, topic='/middle')


def test_the_shipped_recording_is_a_bag() -> None:
    with pytest.raises(SourceError, match='/camera/depth/image'):
        open_source(SHIPPED)
    frame = next(open_source(SHIPPED, topic='/camera/image').read())
    with Recording() as recording:
        assert np.array_equal(frame.image, recording.observe(0.0, truth=False).rgb)
    assert frame.info.frame_id == 'camera_optical_frame'
    with pytest.raises(SourceError, match='"16UC1" may be depth or infrared'):
        next(open_source(SHIPPED, topic='/camera/depth/image').read())


def test_a_bag_without_images_is_named(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, make_images: MakeImages
) -> None:
    header = image_message(make_images(1)[0]).header
    bag = write_bag(tmp_path / 'bag', [('/header', 1, header)])
    with pytest.raises(SourceError, match=f'{bag} has no images on any topic'):
        open_source(bag)


def test_an_image_that_contradicts_itself_is_refused(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, make_images: MakeImages
) -> None:
    for number, changes in enumerate([{'width': 900}, {'height': 49}, {'step': 3}, {'width': 0}]):
        message = image_message(make_images(1)[0])
        for name, value in changes.items():
            object.__setattr__(message, name, value)
        bag = write_bag(tmp_path / str(number), [('/camera', 1, message)])
        with pytest.raises(SourceError, match='an image cannot be read'):
            next(BagImages(bag).read())


def test_a_compressed_image_of_another_format_is_refused(
    tmp_path: Path, write_bag: WriteBag, compressed_message: Make, make_images: MakeImages
) -> None:
    for number, data in enumerate([b'', b'draco', encoded(make_images(1)[0], 'BMP')]):
        message = compressed_message(data, format='draco')
        bag = write_bag(tmp_path / str(number), [('/camera', 1, message)])
        with pytest.raises(SourceError, match='format "draco" are no complete JPEG or PNG'):
            next(BagImages(bag).read())


@pytest.mark.parametrize('zeros', [1, 4])
def test_a_few_stamps_of_0_are_times_and_not_a_missing_clock(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, make_images: MakeImages, zeros: int
) -> None:
    stamps = [0] * zeros + [NANO // 10, NANO // 5]
    bag = BagImages(
        write_bag(
            tmp_path / 'bag',
            [
                ('/camera', NANO + n, image_message(image, stamp))
                for n, (stamp, image) in enumerate(zip(stamps, make_images(9), strict=False))
            ],
        )
    )
    places = [frame.info for frame in bag.read()]
    assert [place.stamp for place in places] == stamps
    assert next(read_from(bag, places[1])).info == places[1]


def test_a_truncated_mcap_is_read_up_to_the_cut(
    tmp_path: Path,
    write_bag: WriteBag,
    image_message: Make,
    make_images: MakeImages,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rng = np.random.default_rng(0)  # Noise, so that the chunks of the file fill up.
    images = rng.integers(0, 256, (60, 120, 160, 3), np.uint8)
    bag = write_bag(
        tmp_path / 'bag',
        [('/camera', n, image_message(image, NANO + n)) for n, image in enumerate(images)],
    )
    [file] = bag.glob('*.mcap')
    file.write_bytes(file.read_bytes()[: -len(file.read_bytes()) // 3])
    for path in (bag, file):
        source = BagImages(path)
        frames = list(source.read())
        assert 20 < len(frames) < 60 and source.count == len(frames)
        assert all(
            np.array_equal(frame.image, image) for frame, image in zip(frames, images, strict=False)
        )
        assert next(read_from(source, frames[-1].info)).info == frames[-1].info
    assert f'{file} is truncated: only its first {len(frames)} messages are read' in caplog.text


def test_a_storage_file_without_messages_does_not_hide_the_others(
    tmp_path: Path,
    write_bag: WriteBag,
    image_message: Make,
    make_images: MakeImages,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bag = write_bag(
        tmp_path / 'bag',
        [('/camera', n, image_message(image, NANO + n)) for n, image in enumerate(make_images(3))],
    )
    [file] = bag.glob('*.mcap')
    (bag / 'metadata.yaml').unlink()
    for content in (b'', file.read_bytes()[:50]):
        (bag / 'bag_1.mcap').write_bytes(content)
        assert len(list(BagImages(bag).read())) == 3
        assert f'{bag / "bag_1.mcap"} cannot be read as a bag' in caplog.text


def test_a_damaged_file_is_read_up_to_the_damage(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, caplog: pytest.LogCaptureFixture
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 120, 160, 3), np.uint8)
    bag = write_bag(
        tmp_path / 'bag',
        [('/camera', n, image_message(image, NANO + n)) for n, image in enumerate(images)],
    )
    [file] = bag.glob('*.mcap')
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300_000] = b'\xff' * 300_000
    file.write_bytes(content)
    source = BagImages(bag)
    frames = list(source.read())
    assert 0 < len(frames) < 60 == source.count
    assert f'{file.parent} is damaged, the rest of it is skipped' in caplog.text
    assert len(list(read_from(source, frames[-1].info))) == 1


def test_a_truncated_mcap_without_chunks_is_read_from_any_time(
    tmp_path: Path, image_message: Make, make_images: MakeImages
) -> None:
    file = tmp_path / 'plain.mcap'
    types, kind = standard_types(), 'sensor_msgs/msg/Image'
    with file.open('wb') as stream:
        writer = McapWriter(stream, use_chunking=False)
        writer.start(profile='ros2')
        schema = writer.register_schema(kind, 'ros2msg', b'')
        channel = writer.register_channel('/camera', 'cdr', schema)
        for n, image in enumerate(make_images(9)):
            raw = bytes(types.serialize_cdr(image_message(image, NANO + n), kind))
            writer.add_message(channel, n, raw, n)
    frames = list(BagImages(file).read())
    assert [frame.info.recorded for frame in frames] == list(range(9))
    assert [frame.info.recorded for frame in BagImages(file).read(6)] == [6, 7, 8]


@pytest.mark.parametrize('mcap', [True, False])
def test_a_folder_without_metadata_or_with_damaged_metadata_is_read_from_its_files(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, make_images: MakeImages, mcap: bool
) -> None:
    first, second = (
        write_bag(
            tmp_path / name,
            [
                ('/camera', n, image_message(image, NANO + n))
                for n, image in enumerate(make_images(6))
                if (n < 3) == (name == 'bag')
            ],
            mcap=mcap,
        )
        for name in ('bag', 'more')
    )
    [file] = (file for file in second.iterdir() if file.suffix != '.yaml')
    file.rename(first / f'bag_10{file.suffix}')
    [file] = (file for file in first.iterdir() if file.stem == 'bag')
    file.rename(first / f'bag_2{file.suffix}')
    for damaged in ('', '- a\n', 'rosbag2_bagfile_information: 3\n', '{'):
        (first / 'metadata.yaml').write_text(damaged)
        assert [frame.info.recorded for frame in open_source(first).read()] == list(range(6))
    (first / 'metadata.yaml').unlink()
    assert [frame.info.recorded for frame in open_source(first).read()] == list(range(6))


def test_a_ros_1_bag_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, image_message: Make, make_images: MakeImages
) -> None:
    bag = tmp_path / 'old drive.bag'
    types = get_typestore(Stores.ROS1_NOETIC)
    with Rosbag1Writer(bag) as writer:
        connection = writer.add_connection('/camera', 'sensor_msgs/msg/Image', typestore=types)
        for n, image in enumerate(make_images(2)):
            message = ros1_image(types, image, n)
            writer.write(connection, n, types.serialize_ros1(message, 'sensor_msgs/msg/Image'))
    with pytest.raises(SourceError, match='ROS 1 bag') as refusal:
        open_source(bag)
    command = str(refusal.value).split('`')[1]
    subprocess.run([sys.executable, '-m', 'rosbags.convert', *shlex.split(command)[1:]], check=True)
    frames = list(open_source(bag.with_suffix('')).read())
    assert np.array_equal(frames[1].image, make_images(2)[1])


def test_a_pointer_of_git_lfs_is_refused_with_the_command_that_fetches_the_file(
    tmp_path: Path,
) -> None:
    pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n'
    folder = tmp_path / 'bag'
    folder.mkdir()
    for file in (tmp_path / 'video.mp4', tmp_path / 'drive.mcap', folder / 'bag_0.mcap'):
        file.write_text(pointer)
        path = folder if file.parent == folder else file
        for read in (open_source, BagReader, open_storage):
            pointer_error = f'{file} is only a git-lfs pointer.* `git lfs pull`'
            with pytest.raises(SourceError, match=pointer_error):
                read(path)


def test_an_unreadable_image_is_left_out_and_reported(
    tmp_path: Path,
    write_bag: WriteBag,
    image_message: Make,
    compressed_message: Make,
    make_images: MakeImages,
    caplog: pytest.LogCaptureFixture,
) -> None:
    jpegs = [encoded(image, 'JPEG') for image in make_images(4)]
    jpegs[1] = b'no image'
    bag = BagImages(
        write_bag(
            tmp_path / 'bag',
            [('/camera', n, compressed_message(data, NANO + n)) for n, data in enumerate(jpegs)],
        )
    )
    frames = list(bag.read())
    assert [frame.info.recorded for frame in frames] == [0, 2, 3]
    assert 'a frame is skipped' in caplog.text and str(bag.path) in caplog.text
    assert [frame.info for frame in read_from(bag, frames[1].info)] == [
        frame.info for frame in frames[1:]
    ]


def test_a_damaged_message_is_left_out(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, make_images: MakeImages
) -> None:
    bag = tmp_path / 'bag'
    with Writer(bag, version=9) as writer:
        connection = writer.add_connection(
            '/camera', 'sensor_msgs/msg/Image', typestore=standard_types()
        )
        for n, image in enumerate(make_images(3)):
            message = image_message(image, NANO + n)
            raw = standard_types().serialize_cdr(message, 'sensor_msgs/msg/Image')
            writer.write(connection, n, raw[:30] if n == 0 else raw)
    assert [frame.info.stamp for frame in BagImages(bag).read()] == [NANO + 1, NANO + 2]


@pytest.mark.parametrize('mcap', [True, False])
@pytest.mark.parametrize('kept', [0, 50, 3000])
def test_a_bag_truncated_before_its_first_image_is_named(
    tmp_path: Path,
    write_bag: WriteBag,
    image_message: Make,
    make_images: MakeImages,
    mcap: bool,
    kept: int,
) -> None:
    bag = write_bag(tmp_path / 'bag', [('/camera', 1, image_message(make_images(1)[0]))], mcap=mcap)
    file = next(file for file in bag.iterdir() if file.suffix != '.yaml')
    file.write_bytes(file.read_bytes()[:kept])
    for path in (file, bag):
        with pytest.raises(SourceError, match=f'{path} cannot be read as a bag'):
            list(open_source(path).read())
