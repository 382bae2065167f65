from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.simulation.recording import SHIPPED, Recording
from instructseg_ros.video.bag import Bag
from instructseg_ros.video.frame import NANO, SourceError, read_from
from instructseg_ros.video.source import open_source

Pictures = Callable[[int], list[np.ndarray]]
Make = Callable[..., Any]
WriteBag = Callable[..., Path]


def encoded(image: np.ndarray, kind: str, quality: int = 95) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, quality=quality)
    return file.getvalue()


@pytest.fixture
def red_and_blue() -> np.ndarray:
    """(4, 6, 3), red on the left and blue on the right."""
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, :3, 0], image[:, 3:, 2] = 200, 100
    return image


@pytest.mark.parametrize('mcap', [True, False])
def test_frames_come_with_their_pictures_stamps_and_headers(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, pictures: Pictures, mcap: bool
) -> None:
    messages = [('/camera', 10 * NANO + n, image_message(image, 5 * NANO + 1000 * n))
                for n, image in enumerate(pictures(5))]
    bag = write_bag(tmp_path / 'bag', messages, mcap=mcap)
    for path in (bag, next(file for file in bag.iterdir() if file.suffix != '.yaml')):
        source = open_source(path)
        frames = list(source.read())
        assert source.count == len(frames) == 5
        for n, (frame, image) in enumerate(zip(frames, pictures(5), strict=True)):
            assert np.array_equal(frame.image, image)
            assert frame.place.stamp == 5 * NANO + 1000 * n
            assert frame.place.recorded == 10 * NANO + n
            assert frame.place.frame_id == 'camera'


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', '8UC3', 'rgba8', 'bgra8'])
@pytest.mark.parametrize('padding', [0, 5])
def test_colours_of_every_encoding_are_read(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, red_and_blue: np.ndarray,
    encoding: str, padding: int
) -> None:
    pixels = red_and_blue if encoding.startswith('rgb') else red_and_blue[..., ::-1]
    if 'a' in encoding:
        pixels = np.concatenate([pixels, np.full((4, 6, 1), 9, np.uint8)], axis=2)
    message = image_message(pixels, encoding=encoding, padding=padding)
    [frame] = Bag(write_bag(tmp_path / 'bag', [('/camera', 1, message)])).read()
    assert np.array_equal(frame.image, red_and_blue)


@pytest.mark.parametrize(('encoding', 'kind', 'shift'), [
    ('mono8', '<u1', 0), ('8UC1', '<u1', 0), ('mono16', '<u2', 8), ('mono16', '>u2', 8),
])  # fmt: skip
def test_grey_of_every_encoding_is_read(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, encoding: str, kind: str, shift: int
) -> None:
    grey = np.arange(200, 224, dtype=np.uint8).reshape(4, 6)
    pixels = (grey.astype(np.uint16) << shift).astype(kind)
    message = image_message(pixels, encoding=encoding, padding=2, big=kind[0] == '>')
    [frame] = Bag(write_bag(tmp_path / 'bag', [('/camera', 1, message)])).read()
    assert np.array_equal(frame.image, np.repeat(grey[..., None], 3, axis=2))


def test_mono16_of_a_sensor_of_12_bits_is_bright_and_does_not_flicker(
    tmp_path: Path, write_bag: WriteBag, image_message: Make
) -> None:
    messages = [('/camera', n + 1, image_message(np.full((4, 6), value, '<u2'), encoding='mono16'))
                for n, value in enumerate((4000, 500, 2000))]
    frames = list(Bag(write_bag(tmp_path / 'bag', messages)).read())
    assert [int(frame.image.max()) for frame in frames] == [4000 >> 4, 500 >> 4, 2000 >> 4]


def test_infrared_or_depth_is_refused_with_both_remedies(
    tmp_path: Path, write_bag: WriteBag, image_message: Make
) -> None:
    message = image_message(np.full((4, 6), 900, '<u2'), encoding='16UC1')
    with pytest.raises(SourceError, match='may be depth or infrared'):
        list(Bag(write_bag(tmp_path / 'bag', [('/camera', 1, message)])).read())


def test_compressed_images_are_read(
    tmp_path: Path, write_bag: WriteBag, compressed_message: Make, pictures: Pictures
) -> None:
    images = pictures(2)
    deep = (images[1][..., 0].astype(np.uint16) << 8) + 3
    messages = [compressed_message(encoded(images[0], 'JPEG')),
                compressed_message(encoded(images[1], 'PNG'), format='png'),
                compressed_message(encoded(deep, 'PNG'), format='mono16; png compressed')]
    bag = write_bag(tmp_path / 'bag', [
        ('/camera/compressed', n, message) for n, message in enumerate(messages)])
    jpeg, png, grey = (frame.image for frame in Bag(bag).read())
    assert np.abs(jpeg.astype(int) - images[0]).mean() < 6
    assert np.array_equal(png, images[1])
    assert np.array_equal(grey, np.repeat(images[1][..., :1], 3, axis=2))


def test_a_camera_without_a_clock_gets_the_times_of_the_bag(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, pictures: Pictures
) -> None:
    bag = write_bag(tmp_path / 'bag', [
        ('/camera', 100 * n, image_message(image)) for n, image in enumerate(pictures(3), 1)])
    assert [frame.place.stamp for frame in Bag(bag).read()] == [100, 200, 300]


def test_reading_goes_on_from_any_image(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, pictures: Pictures
) -> None:
    bag = Bag(write_bag(tmp_path / 'bag', [  # two at a time have the same log time
        ('/camera', n // 2 * NANO, image_message(image, (1 + n) * NANO))
        for n, image in enumerate(pictures(8))]))
    for number, frame in enumerate(list(bag.read())):
        stamps = [later.place.stamp for later in read_from(bag, frame.place)]
        assert stamps == [(1 + n) * NANO for n in range(number, 8)]


def test_of_several_topics_one_must_be_named(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, compressed_message: Make,
    pictures: Pictures
) -> None:
    image, other = pictures(2)
    bag = write_bag(tmp_path / 'bag', [
        ('/left', 1, image_message(image)), ('/left', 2, image_message(image)),
        ('/right/compressed', 1, compressed_message(encoded(other, 'PNG')))])
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
    assert frame.place.frame_id == 'camera_optical_frame'
    with pytest.raises(SourceError, match='"16UC1" may be depth or infrared'):
        next(open_source(SHIPPED, topic='/camera/depth/image').read())


def test_a_bag_without_images_is_named(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, pictures: Pictures
) -> None:
    header = image_message(pictures(1)[0]).header
    bag = write_bag(tmp_path / 'bag', [('/header', 1, header)])
    with pytest.raises(SourceError, match=f'{bag}: no topic of it holds images'):
        open_source(bag)


def test_an_image_that_contradicts_itself_is_refused(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, pictures: Pictures
) -> None:
    for number, changes in enumerate([{'width': 900}, {'height': 49}, {'step': 3}, {'width': 0}]):
        message = image_message(pictures(1)[0])
        for name, value in changes.items():
            object.__setattr__(message, name, value)
        bag = write_bag(tmp_path / str(number), [('/camera', 1, message)])
        with pytest.raises(SourceError, match='an image cannot be read'):
            next(Bag(bag).read())


def test_a_compressed_image_of_another_format_is_refused(
    tmp_path: Path, write_bag: WriteBag, compressed_message: Make, pictures: Pictures
) -> None:
    for number, data in enumerate([b'', b'draco', encoded(pictures(1)[0], 'BMP')]):
        message = compressed_message(data, format='draco')
        bag = write_bag(tmp_path / str(number), [('/camera', 1, message)])
        with pytest.raises(SourceError, match='format "draco" are no whole JPEG or PNG'):
            next(Bag(bag).read())


@pytest.mark.parametrize('mcap', [True, False])
@pytest.mark.parametrize('kept', [0, 50, 3000])
def test_a_bag_that_was_cut_off_is_named(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, pictures: Pictures, mcap: bool,
    kept: int
) -> None:
    bag = write_bag(tmp_path / 'bag', [('/camera', 1, image_message(pictures(1)[0]))], mcap=mcap)
    file = next(file for file in bag.iterdir() if file.suffix != '.yaml')
    file.write_bytes(file.read_bytes()[:kept])
    for path in (file, bag):
        with pytest.raises(SourceError, match=f'{path} cannot be read as a bag.*reindex'):
            list(open_source(path).read())


def test_a_bag_whose_description_is_damaged_is_named(
    tmp_path: Path, write_bag: WriteBag, image_message: Make, pictures: Pictures
) -> None:
    bag = write_bag(tmp_path / 'bag', [('/camera', 1, image_message(pictures(1)[0]))])
    for text in ('', '- a\n- b\n', 'rosbag2_bagfile_information: 3\n', '{'):
        (bag / 'metadata.yaml').write_text(text)
        with pytest.raises(SourceError, match='cannot be read as a bag'):
            open_source(bag)
