"""A user's own data as a bag of images and label images, and words for each label."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from PIL import Image
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag2 import Writer
from rosbags.rosbag2.enums import StoragePlugin

from instructseg_ros.data.reading import DataError, DataSet, Reading
from instructseg_ros.data.sample import Kind, Sample
from instructseg_ros.data.synthetic import clip
from instructseg_ros.data.targets import Appearance, Seen
from instructseg_ros.video import messages
from instructseg_ros.video.bag_image import read_image
from instructseg_ros.video.frame import SourceError
from instructseg_ros.video.messages import standard_types

_FILE: Final = 'labels.yaml'
_LABELS: Final = {'mono8': np.uint8, '8UC1': np.uint8, '16UC1': np.uint16, 'mono16': np.uint16}
_TOPICS: Final = {'image': '/camera/image', 'labels': '/camera/labels'}
_TYPES: Final = {
    'image': (messages.Image, messages.CompressedImage),
    'labels': (messages.Image,),
}


@dataclasses.dataclass(frozen=True)
class Message:
    """A message of a bag.

    Args:
        bag: its folder.
        topic: that it was published on.
        logged: ns, when.
    """

    bag: Path
    topic: str
    logged: int

    def read(self) -> tuple[bytes, str]:
        """The serialised message and its type.

        Raises:
            OSError: the bag cannot be read, or has no such message.
        """
        try:
            with AnyReader([self.bag], default_typestore=standard_types()) as reader:
                mine = [each for each in reader.connections if each.topic == self.topic]
                for connection, _, raw in reader.messages(mine, self.logged, self.logged + 1):
                    return bytes(raw), connection.msgtype
        except (AnyReaderError, ValueError) as error:
            raise OSError(f'{self.bag}: {error}') from error
        raise OSError(f'{self.bag} has no message of {self.topic} at {self.logged}')


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

    def __str__(self) -> str:
        return f'{self.message.bag} {self.message.topic} at {self.message.logged} ns'


@dataclasses.dataclass(frozen=True)
class BagLabel:
    """The pixels of a label image that have a value."""

    message: Message
    value: int

    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        raw, kind = self.message.read()
        image: Any = standard_types().deserialize_cdr(raw, kind)
        if image.encoding not in _LABELS:
            raise ValueError(f'labels are {", ".join(_LABELS)}, not {image.encoding}')
        pixel = np.dtype(_LABELS[image.encoding]).newbyteorder('>' if image.is_bigendian else '<')
        rows = np.frombuffer(image.data.tobytes(), np.uint8).reshape(image.height, image.step)
        values = rows[:, : image.width * pixel.itemsize].copy().view(pixel)
        return np.asarray(values == self.value)


def read(folder: Path, split: str) -> Reading:
    """Read a bag: one video for each label that has words.

    Images and labels belong together where their headers have the same stamp.

    Raises:
        DataError: the bag or the words are missing or damaged.
    """
    words = _read_words(folder)
    topics = {name: words.get(name, topic) for name, topic in _TOPICS.items()}
    try:
        stamped = {
            name: dict(_stamps(folder, topic, _TYPES[name])) for name, topic in topics.items()
        }
    except (AnyReaderError, OSError, ValueError) as error:
        raise DataError(f'{folder} is not a bag that can be read: {error}') from error
    shared = sorted(stamped['image'].keys() & stamped['labels'].keys())
    if not shared:
        raise DataError(f'{folder}: no image of {topics["image"]} has the stamp of a label image '
                        f'of {topics["labels"]}')  # fmt: skip
    images = [stamped['image'][stamp] for stamp in shared]
    labels = [stamped['labels'][stamp] for stamp in shared]
    reading = Reading()
    for value, sentences in words['sentences'].items():
        read_one = partial(_sample, value, sentences, images, labels)
        reading.add(f'{folder / _FILE} label {value}', read_one)
    return reading


def _read_words(folder: Path) -> Mapping[str, Any]:
    try:
        words = yaml.safe_load((folder / _FILE).read_bytes())
    except FileNotFoundError:
        raise DataError(f'{folder / _FILE} is missing') from None
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f'{folder / _FILE} is not YAML: {error}') from error
    if not isinstance(words, dict) or not isinstance(words.get('sentences'), dict):
        raise DataError(f'{folder / _FILE} has no sentences: {{label: [texts]}}')
    return words


def _stamps(folder: Path, topic: str, types: Sequence[str]) -> Iterator[tuple[int, Message]]:
    """Stamps of a topic's headers, in nanoseconds, and their messages.

    Raises:
        DataError: its messages are of another type.
    """
    with AnyReader([folder], default_typestore=standard_types()) as reader:
        mine = [each for each in reader.connections if each.topic == topic]
        for connection, logged, raw in reader.messages(mine) if mine else ():
            if connection.msgtype not in types:
                raise DataError(f'{topic} has {connection.msgtype}, not {" or ".join(types)}')
            message: Any = standard_types().deserialize_cdr(raw, connection.msgtype)
            stamp = message.header.stamp
            yield stamp.sec * 10**9 + stamp.nanosec, Message(folder, topic, logged)


def _sample(
    value: Any, sentences: Any, images: list[Message], labels: list[Message]
) -> Sample:
    texts = [sentences] if isinstance(sentences, str) else list(sentences)
    if not texts:
        raise ValueError('there is no sentence')
    regions = [BagLabel(message, int(value)) for message in labels]
    mistake = f'no label image has the value {value}: name only labels that there are'
    appearance = Appearance(regions, mistake)
    return Sample(
        key=str(value),
        kind=Kind.VIDEO_REFERRING,
        frames=tuple(BagPicture(message) for message in images),
        targets=tuple(Seen(region, appearance) for region in regions),
        instructions=tuple(str(text) for text in texts),
    )


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny bag, and words for its labels."""
    pictures, seen = clip(np.random.default_rng(seed))
    types = standard_types().types
    # rosbags makes the folder, and refuses one that is there.
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {name: writer.add_connection(topic, messages.Image, typestore=standard_types())
                  for name, topic in _TOPICS.items()}  # fmt: skip
        for index, (rgb, things) in enumerate(zip(pictures, seen, strict=True)):
            labels = np.zeros(rgb.shape[:2], np.uint8)
            for number, thing in enumerate(things, start=1):
                labels[thing.mask] = number
            stamp = index * 10**8
            time = types['builtin_interfaces/msg/Time'](sec=0, nanosec=stamp)
            header = types['std_msgs/msg/Header'](stamp=time, frame_id='camera')
            for name, pixels, encoding in (('image', rgb, 'rgb8'), ('labels', labels, 'mono8')):
                message = types[messages.Image](
                    header=header, height=rgb.shape[0], width=rgb.shape[1], encoding=encoding,
                    is_bigendian=0, step=pixels.nbytes // rgb.shape[0], data=pixels.ravel(),
                )  # fmt: skip
                raw = standard_types().serialize_cdr(message, messages.Image)
                writer.write(topics[name], stamp, raw)
    sentences = {number: [f'the {thing.name}'] for number, thing in enumerate(seen[0], start=1)}
    (folder / _FILE).write_text(yaml.safe_dump({**_TOPICS, 'sentences': sentences}))


DATA_SETS: Final = (
    DataSet(
        name='bag',
        splits=('train',),
        read=read,
        make_sample=make_sample,
        layout=f'a rosbag2 folder, and {_FILE} in it:\n'
        '  image: /camera/image    # raw or compressed\n'
        '  labels: /camera/labels  # mono8 or 16UC1, with the stamps of the images\n'
        '  sentences: {1: [the red mug], 2: [the bowl, something to eat from]}',
    ),
)
