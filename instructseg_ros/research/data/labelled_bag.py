"""A user's own data as a bag of images and label images, and words for each label."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from PIL import Image
from rosbags.rosbag2 import Writer
from rosbags.rosbag2.enums import StoragePlugin

from instructseg_ros.research.data.images import file_version
from instructseg_ros.research.data.reading import (
    DataError,
    DataSet,
    MissingError,
    Problem,
    Reading,
    check_file,
)
from instructseg_ros.research.data.sample import Kind, Sample
from instructseg_ros.research.data.synthetic import clip
from instructseg_ros.research.data.targets import Appearance, Seen
from instructseg_ros.video.bag import (
    COMPRESSED_IMAGE,
    IMAGE,
    BagReader,
    read_image,
    read_label_image,
    read_stamp,
    standard_types,
)
from instructseg_ros.video.source import SourceError

_FILE: Final = 'labels.yaml'
_SPLITS: Final = ('train', 'val')
_OPEN: Final = 4  # bags at a time in a process
_DECODED: Final = 8  # label images
_TOPICS: Final = {'image': '/camera/image', 'labels': '/camera/truth/labels'}
# Read where labels.yaml names no topic and the bag has no truth. In a bag with both, these are
# results of the node.
_PLAIN_LABELS: Final = '/camera/labels'
_TYPES: Final = {'image': (IMAGE, COMPRESSED_IMAGE), 'labels': (IMAGE,)}


@dataclasses.dataclass(frozen=True)
class Message:
    """A message of a bag.

    Args:
        bag: its folder.
        topic: that it was published on.
        logged: ns, when.
        stamp: ns, of its header: messages may share a log time.
    """

    bag: Path
    topic: str
    logged: int
    stamp: int

    def read(self) -> tuple[bytes, str]:
        """The serialised message and its type.

        Raises:
            OSError: the bag cannot be read, or has no such message.
        """
        try:
            reader = _reader(self.bag, os.getpid())
            mine = [each for each in reader.connections if each.topic == self.topic]
            for connection, _, raw in reader.messages(mine, self.logged, self.logged + 1):
                with contextlib.suppress(SourceError):  # another one is damaged
                    if read_stamp(raw, connection.msgtype) == self.stamp:
                        return raw, connection.msgtype
        except SourceError as error:
            raise OSError(str(error)) from error
        raise OSError(f'there is no {self}')

    def __str__(self) -> str:
        return f'{self.bag} {self.topic} at {self.logged} ns'


@functools.lru_cache(maxsize=_OPEN)
def _reader(bag: Path, process: int) -> BagReader:
    """An open bag; a forked process opens its own, for both would move one file position."""
    return BagReader(bag)


@dataclasses.dataclass(frozen=True)
class BagPicture:
    """An image of a bag, raw or compressed."""

    message: Message

    def load(self) -> Image.Image:
        """RGB; see `Picture.load`."""
        raw, kind = self.message.read()
        try:
            return Image.fromarray(read_image(raw, kind)[1])
        except SourceError as error:
            raise OSError(f'{self}: {error}') from error

    def version(self) -> str:
        """Sizes and times of the bag's files; see `Picture.version`."""
        files = sorted(each for each in self.message.bag.iterdir() if each.name != _FILE)
        return ' '.join(map(file_version, files))

    def __str__(self) -> str:
        return str(self.message)


@dataclasses.dataclass(frozen=True)
class BagLabel:
    """The pixels of a label image that have a value."""

    message: Message
    value: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = _labels(self.message).shape
        return height, width

    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        return np.asarray(_labels(self.message) == self.value)


@functools.lru_cache(maxsize=_DECODED)
def _labels(message: Message) -> np.ndarray:
    """(H, W) values of a label image, which the labels of a frame share."""
    raw, _ = message.read()
    try:
        values = read_label_image(raw)
    except SourceError as error:
        raise OSError(f'{message}: {error}') from error
    values.setflags(write=False)
    return values


def read(folder: Path, split: str) -> Reading:
    """Read a bag: one video for each label that has words.

    Images and labels belong together where their headers have the same stamp.

    Args:
        folder: of the bag, which is then the split `train`; or of a bag for each split, by name.

    A message that is damaged is a problem of the reading.

    Raises:
        MissingError: there is no such folder.
        DataError: the bag or the words are missing or damaged.
    """
    folder = _bag_of(folder, split)
    reading = Reading()
    words = _read_words(folder)
    try:
        with BagReader(folder) as bag:
            topics = _topics(bag, words)
            stamped = _stamped(bag, folder, topics, reading)
    except (OSError, SourceError) as error:
        raise DataError(str(error)) from error
    shared = sorted(stamped['image'].keys() & stamped['labels'].keys())
    if not shared:
        left_out = f'; {reading.problems[0]}' if reading.problems else ''
        raise DataError(
            f'{folder}: no image of {topics["image"]} has the stamp of a label image '
            f'of {topics["labels"]}{left_out}'
        )
    images = [stamped['image'][stamp] for stamp in shared]
    labels = [stamped['labels'][stamp] for stamp in shared]
    for value, sentences in words['sentences'].items():
        read_one = partial(_sample, value, sentences, images, labels)
        reading.add(f'{folder / _FILE} label {value}', read_one)
    return reading


def _bag_of(folder: Path, split: str) -> Path:
    if (folder / split).is_dir():
        return folder / split
    if split != _SPLITS[0] or not folder.is_dir():
        raise MissingError(f'{folder / split} is missing')
    return folder


def _topics(bag: BagReader, words: Mapping[str, Any]) -> dict[str, str]:
    """Return the topics of images and labels."""
    topics = {name: words.get(name, topic) for name, topic in _TOPICS.items()}
    if 'labels' not in words and topics['labels'] not in {each.topic for each in bag.connections}:
        topics['labels'] = _PLAIN_LABELS
    return topics


def _read_words(folder: Path) -> Mapping[str, Any]:
    try:
        check_file(folder / _FILE)
        # Texts stay texts: YAML by itself takes `no`, `on` and 1.10 for other things.
        words = yaml.load((folder / _FILE).read_bytes(), yaml.BaseLoader)
    except MissingError as error:  # the bag is there: its words are a mistake, not another split
        raise DataError(str(error)) from None
    except DataError:
        raise
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f'{folder / _FILE} is not YAML: {error}') from error
    if not isinstance(words, dict) or not isinstance(words.get('sentences'), dict):
        raise DataError(f'{folder / _FILE} has no sentences: {{label: [texts]}}')
    return words


def _stamped(
    bag: BagReader, folder: Path, topics: Mapping[str, str], reading: Reading
) -> dict[str, dict[int, Message]]:
    """Messages of the two topics by the stamps of their headers in nanoseconds, in one pass.

    Raises:
        DataError: a topic's messages are of another type.
    """
    stamped: dict[str, dict[int, Message]] = {name: {} for name in topics}
    names = {topic: name for name, topic in topics.items()}
    mine = [each for each in bag.connections if each.topic in names]
    repeated: Counter[str] = Counter()
    for connection, logged, raw in bag.messages(mine):
        topic, name = connection.topic, names[connection.topic]
        if connection.msgtype not in _TYPES[name]:
            wanted = ' or '.join(_TYPES[name])
            raise DataError(f'{topic} has {connection.msgtype}, not {wanted}')
        with reading.noting(f'{folder} {topic} at {logged} ns'):
            stamp = read_stamp(raw, connection.msgtype)
            repeated[topic] += stamp in stamped[name]
            stamped[name].setdefault(stamp, Message(folder, topic, logged, stamp))
    for topic, count in (+repeated).items():
        reading.problems.append(
            Problem(
                f'{folder} {topic}',
                (
                    f'{count} messages have the stamp of an earlier one and are left out: '
                    f'let the driver stamp each image'
                ),
            )
        )
    return stamped


def _sample(value: Any, sentences: Any, images: list[Message], labels: list[Message]) -> Sample:
    texts = [sentences] if isinstance(sentences, str) else sentences
    if not isinstance(texts, list) or not texts or not all(_is_text(text) for text in texts):
        raise ValueError('sentences are a list of texts, at least one')
    regions = [BagLabel(message, int(value)) for message in labels]
    mistake = f'no label image has the value {value}: name only labels that there are'
    appearance = Appearance(regions, mistake)
    return Sample(
        key=str(value),
        kind=Kind.VIDEO_REFERRING,
        frames=tuple(BagPicture(message) for message in images),
        targets=tuple(Seen(region, appearance) for region in regions),
        instructions=tuple(texts),
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny bag for each split, and words for its labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, split in enumerate(_SPLITS):
        write_sample(folder / split, seed + number)


def write_sample(folder: Path, seed: int) -> None:
    """Write a tiny bag, and words for its labels."""
    pictures, seen = clip(np.random.default_rng(seed))
    types = standard_types().types
    # rosbags makes the folder, and refuses one that is there.
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {
            name: writer.add_connection(topic, IMAGE, typestore=standard_types())
            for name, topic in _TOPICS.items()
        }
        for index, (rgb, things) in enumerate(zip(pictures, seen, strict=True)):
            labels = np.zeros(rgb.shape[:2], np.uint8)
            for number, thing in enumerate(things, start=1):
                labels[thing.mask] = number
            stamp = index * 10**8
            time = types['builtin_interfaces/msg/Time'](sec=0, nanosec=stamp)
            header = types['std_msgs/msg/Header'](stamp=time, frame_id='camera')
            for name, pixels, encoding in (('image', rgb, 'rgb8'), ('labels', labels, 'mono8')):
                message = types[IMAGE](
                    header=header,
                    height=rgb.shape[0],
                    width=rgb.shape[1],
                    encoding=encoding,
                    is_bigendian=0,
                    step=pixels.nbytes // rgb.shape[0],
                    data=pixels.ravel(),
                )
                raw = standard_types().serialize_cdr(message, IMAGE)
                writer.write(topics[name], stamp, raw)
    sentences = {number: [f'the {thing.name}'] for number, thing in enumerate(seen[0], start=1)}
    (folder / _FILE).write_text(yaml.safe_dump({**_TOPICS, 'sentences': sentences}))


DATA_SETS: Final = (
    DataSet(
        name='bag',
        splits=_SPLITS,
        read=read,
        make_sample=make_sample,
        layout=f'a rosbag2 folder, and {_FILE} in it:\n'
        '  image: /camera/image    # raw or compressed\n'
        '  labels: /camera/truth/labels  # mono8 or 16UC1, with the stamps of the images\n'
        '  sentences: {1: [the red mug], 2: [the bowl, something to eat from]}\n'
        'or a folder with such a bag in train/ and another in val/',
    ),
)
