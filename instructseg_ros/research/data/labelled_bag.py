"""Reads a user's data from a bag of images and label images, with sentences for each label."""

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

from instructseg_ros.research.data.dataset import MaskBenchmark, Procedure
from instructseg_ros.research.data.reading import (
    DataError,
    MissingError,
    Reading,
    check_file,
    checked_texts,
)
from instructseg_ros.research.data.sample import Sample, SampleTask, file_version
from instructseg_ros.research.data.synthetic import clip
from instructseg_ros.research.data.targets import Appearance, CheckedTarget
from instructseg_ros.research.evaluation.mask_scores import score_sentences
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
_MAX_OPEN: Final = 4  # bags per process
_MAX_DECODED: Final = 8  # label images
_TOPICS: Final = {'image': '/camera/image', 'labels': '/camera/truth/labels'}
# Used if labels.yaml names no topic and the bag lacks the one in _TOPICS. If a bag has both, this
# one holds results of the node.
_PLAIN_LABELS: Final = '/camera/labels'
_TYPES: Final = {'image': (IMAGE, COMPRESSED_IMAGE), 'labels': (IMAGE,)}


@dataclasses.dataclass(frozen=True)
class BagMessage:
    """A message of a bag.

    Args:
        bag: Folder of the bag.
        topic: Topic of the message.
        logged: Log time in ns.
        stamp: Header stamp in ns; it distinguishes messages with the same log time.
    """

    bag: Path
    topic: str
    logged: int
    stamp: int

    def read(self) -> tuple[bytes, str]:
        """Read the serialised message and its type.

        Raises:
            OSError: The bag cannot be read, or has no such message.
        """
        try:
            reader = _reader(self.bag, os.getpid())
            mine = [each for each in reader.connections if each.topic == self.topic]
            for connection, _, raw in reader.messages(mine, self.logged, self.logged + 1):
                with contextlib.suppress(SourceError):  # another image is damaged
                    if read_stamp(raw, connection.msgtype) == self.stamp:
                        return raw, connection.msgtype
        except SourceError as error:
            raise OSError(str(error)) from error
        raise OSError(f'there is no {self}')

    def __str__(self) -> str:
        return f'{self.bag} {self.topic} at {self.logged} ns'


@functools.lru_cache(maxsize=_MAX_OPEN)
def _reader(bag: Path, process: int) -> BagReader:
    """Open a bag once per process: forked processes would share one file position."""
    return BagReader(bag)


@dataclasses.dataclass(frozen=True)
class BagImage:
    """An image of a bag, raw or compressed."""

    message: BagMessage

    def load(self) -> Image.Image:
        """Decode the image; see `ImageSource.load`."""
        raw, type_name = self.message.read()
        try:
            return Image.fromarray(read_image(raw, type_name)[1])
        except SourceError as error:
            raise OSError(f'{self}: {error}') from error

    def version(self) -> str:
        """Return sizes and times of the bag's files; see `ImageSource.version`."""
        files = sorted(each for each in self.message.bag.iterdir() if each.name != _FILE)
        return ' '.join(map(file_version, files))

    def __str__(self) -> str:
        return str(self.message)


@dataclasses.dataclass(frozen=True)
class BagLabel:
    """The pixels of a label image that have a given value."""

    message: BagMessage
    value: int

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width)."""
        height, width = _labels(self.message).shape
        return height, width

    def mask(self) -> np.ndarray:
        """Return the (H, W) bool mask."""
        return np.asarray(_labels(self.message) == self.value)


@functools.lru_cache(maxsize=_MAX_DECODED)
def _labels(message: BagMessage) -> np.ndarray:
    """Decode (H, W) values of a label image once for all labels of the frame."""
    raw, _ = message.read()
    try:
        values = read_label_image(raw)
    except SourceError as error:
        raise OSError(f'{message}: {error}') from error
    values.setflags(write=False)
    return values


def read(folder: Path, split: str) -> Reading:
    """Read a bag: one sample, a video, for each label that has sentences.

    An image and a label image belong together if their headers have the same stamp. Damaged
    messages become problems.

    Args:
        folder: Folder of a bag, which then counts as the split `train`; or folder with one bag for
            each split, named after it.
        split: `train` or `val`.

    Raises:
        MissingError: There is no such folder.
        DataError: The bag or its `labels.yaml` is missing or damaged.
    """
    folder = _bag_of(folder, split)
    reading = Reading()
    content = _read_labels_file(folder)
    try:
        with BagReader(folder) as bag:
            topics = _topics(bag, content)
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
    for value, sentences in content['sentences'].items():
        read_one = partial(_sample, value, sentences, images, labels)
        reading.add(f'{folder / _FILE} label {value}', read_one)
    return reading


def _bag_of(folder: Path, split: str) -> Path:
    if (folder / split).is_dir():
        return folder / split
    if split != _SPLITS[0] or not folder.is_dir():
        raise MissingError(f'{folder / split} is missing')
    return folder


def _topics(bag: BagReader, content: Mapping[str, Any]) -> dict[str, str]:
    """Return the topics of images and labels."""
    topics = {name: content.get(name, topic) for name, topic in _TOPICS.items()}
    if 'labels' not in content and topics['labels'] not in {each.topic for each in bag.connections}:
        topics['labels'] = _PLAIN_LABELS
    return topics


def _read_labels_file(folder: Path) -> Mapping[str, Any]:
    try:
        check_file(folder / _FILE)
        # BaseLoader keeps all values as text: `no`, `on` and 1.10 are sentences here.
        content = yaml.load((folder / _FILE).read_bytes(), yaml.BaseLoader)
    except MissingError as error:  # the bag exists, so this is not a missing split
        raise DataError(str(error)) from None
    except DataError:
        raise
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f'{folder / _FILE} is not YAML: {error}') from error
    if not isinstance(content, dict) or not isinstance(content.get('sentences'), dict):
        raise DataError(f'{folder / _FILE} has no sentences: {{label: [texts]}}')
    return content


def _stamped(
    bag: BagReader, folder: Path, topics: Mapping[str, str], reading: Reading
) -> dict[str, dict[int, BagMessage]]:
    """Collect the messages of the two topics by header stamp in ns, in one pass.

    Raises:
        DataError: The messages of a topic have the wrong type.
    """
    stamped: dict[str, dict[int, BagMessage]] = {name: {} for name in topics}
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
            stamped[name].setdefault(stamp, BagMessage(folder, topic, logged, stamp))
    for topic, count in (+repeated).items():
        reading.reject(
            f'{folder} {topic}',
            f'{count} messages have the stamp of an earlier one and are left out: '
            f'let the driver stamp each image',
        )
    return stamped


def _sample(
    value: Any, sentences: Any, images: list[BagMessage], labels: list[BagMessage]
) -> Sample:
    texts = [sentences] if isinstance(sentences, str) else sentences
    regions = [BagLabel(message, int(value)) for message in labels]
    mistake = f'no label image has the value {value}: name only labels that exist'
    appearance = Appearance(regions, mistake)
    return Sample(
        key=str(value),
        task=SampleTask.VIDEO_REFERRING,
        frames=tuple(BagImage(message) for message in images),
        targets=tuple(CheckedTarget(region, appearance) for region in regions),
        instructions=checked_texts(texts, 'sentences'),
    )


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny bag with sentences for each split."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, split in enumerate(_SPLITS):
        write_sample(folder / split, seed + number)


def write_sample(folder: Path, seed: int) -> None:
    """Write a tiny bag with sentences for its labels."""
    images, seen = clip(np.random.default_rng(seed))
    types = standard_types().types
    # rosbags creates the folder and refuses an existing one.
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {
            name: writer.add_connection(topic, IMAGE, typestore=standard_types())
            for name, topic in _TOPICS.items()
        }
        for index, (rgb, shapes) in enumerate(zip(images, seen, strict=True)):
            labels = np.zeros(rgb.shape[:2], np.uint8)
            for number, shape in enumerate(shapes, start=1):
                labels[shape.mask] = number
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
    sentences = {number: [f'the {shape.name}'] for number, shape in enumerate(seen[0], start=1)}
    (folder / _FILE).write_text(yaml.safe_dump({**_TOPICS, 'sentences': sentences}))


DATA_SETS: Final = (
    MaskBenchmark(
        name='bag',
        splits=_SPLITS,
        preferred=('val', 'train'),
        read=read,
        make_sample=make_sample,
        procedure=Procedure.ROBOT,
        score=partial(score_sentences, 'bag'),
        layout=f'a rosbag2 folder, and {_FILE} in it:\n'
        '  image: /camera/image    # raw or compressed\n'
        '  labels: /camera/truth/labels  # mono8 or 16UC1, with the stamps of the images\n'
        '  sentences: {1: [the red mug], 2: [the bowl, something to eat from]}\n'
        'or a folder with such a bag in train/ and another in val/',
    ),
)
