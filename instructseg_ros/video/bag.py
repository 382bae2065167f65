"""Reads rosbag2 recordings without a ROS installation, even if the recorder was killed."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.streaming.encodings import (
    BitDepth,
    ConversionError,
    decode_image,
    decode_labels,
)
from instructseg_ros.streaming.image_files import decode_compressed
from instructseg_ros.video.source import (
    FrameInfo,
    SourceError,
    VideoFrame,
    refuse_lfs_pointers,
    skip_unreadable,
    storage_files,
)

if TYPE_CHECKING:
    from mcap.records import McapRecord, Message

IMAGE: Final = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE: Final = 'sensor_msgs/msg/CompressedImage'
CLOCK_SAMPLES: Final = 100  # stamps; a camera whose first ones are all 0 has no clock
_MAX_TIME: Final = 2**64  # ns
_MCAP_MAGIC: Final = b'\x89MCAP0\r\n'
logger = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def standard_types() -> Typestore:
    """Return the standard messages, which are the same from Humble to Kilted."""
    return get_typestore(Stores.ROS2_HUMBLE)


def decode_message(raw: bytes, msgtype: str) -> Any:
    """Deserialize a standard message.

    Raises:
        SourceError: The message is damaged.
    """
    try:
        return standard_types().deserialize_cdr(raw, msgtype)
    except Exception as error:  # rosbags raises errors of almost any type for a damaged message.
        raise SourceError(f'a message is damaged ({error})') from error


def read_image(raw: bytes, msgtype: str, bits: BitDepth | None = None) -> tuple[Any, np.ndarray]:
    """Return the header and the (H, W, 3) uint8 RGB pixels of a serialized message.

    Args:
        raw: The message.
        msgtype: IMAGE or COMPRESSED_IMAGE.
        bits: Bit depth of the camera, as for `decode_image`.

    Raises:
        SourceError: The message contradicts itself, or its encoding is not supported.
    """
    message = decode_message(raw, msgtype)
    try:
        if msgtype == COMPRESSED_IMAGE:
            return message.header, decode_compressed(message.data, message.format, bits)
        return message.header, decode_image(message, bits)
    except ConversionError as error:
        raise SourceError(f'an image cannot be read ({error})') from error


def read_label_image(raw: bytes) -> np.ndarray:
    """Return the (H, W) numbers of a serialized label image, as for `decode_labels`.

    Raises:
        SourceError: The message is damaged, or is not a label image.
    """
    try:
        return decode_labels(decode_message(raw, IMAGE))
    except ConversionError as error:
        raise SourceError(f'a label image cannot be read ({error})') from error


def read_stamp(raw: bytes, msgtype: str) -> int:
    """Return the stamp in the header of a serialized message, ns.

    Raises:
        SourceError: The message is damaged.
    """
    stamp = decode_message(raw, msgtype).header.stamp
    return int(stamp.sec * NANO + stamp.nanosec)


@dataclass(frozen=True)
class Topic:
    """The messages of one type on one topic of a whole bag."""

    topic: str
    msgtype: str
    msgcount: int


class BagReader:
    """Reads the messages of all storage files of a bag, in the order of the files."""

    def __init__(self, path: Path) -> None:
        """Open a rosbag2 folder, with or without its metadata.yaml, or one of its storage files.

        Raises:
            SourceError: It cannot be read; the error names the bag.
        """
        refuse_lfs_pointers(path)
        with ExitStack() as stack:
            self._storages = _open_storages(path, stack)
            self._opened = stack.pop_all()
        counts: Counter[tuple[str, str]] = Counter()
        for storage in self._storages:
            for each in storage.connections:
                counts[each.topic, each.msgtype] += each.msgcount
        self.connections = [Topic(*name, count) for name, count in counts.items()]

    def close(self) -> None:
        """Close the files."""
        self._opened.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def messages(
        self, connections: Collection[Topic], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Topic, int, bytes]]:
        """Yield (topic, log time in ns, serialized message) where `start` <= log time < `stop`.

        The rest of a damaged file is left out, with a warning.
        """
        chosen = {(each.topic, each.msgtype): each for each in connections}
        for storage in self._storages:
            mine = [each for each in storage.connections if (each.topic, each.msgtype) in chosen]
            try:
                # rosbags interprets an empty collection as all topics.
                for each, logged, raw in storage.messages(mine, start, stop) if mine else ():
                    yield chosen[each.topic, each.msgtype], logged, bytes(raw)
            except (
                Exception
            ) as error:  # rosbags raises errors of almost any type for a damaged bag.
                logger.warning('%s is damaged, the rest of it is skipped: %s', storage.path, error)


def open_storage(path: Path) -> Reader:
    """Open a complete rosbag2 folder or storage file; close it after use.

    Raises:
        SourceError: It cannot be read; the error names it.
    """
    refuse_lfs_pointers(path)
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:  # rosbags raises errors of almost any type for a damaged bag.
        raise SourceError(f'{path} cannot be read as a bag: {error}') from error
    return reader


def _open_storages(path: Path, stack: ExitStack) -> list[Any]:
    """Open a folder as its metadata describes it, else each storage file that can be read.

    Raises:
        SourceError: Nothing can be read.
    """
    errors: list[SourceError] = []
    opened: list[Any] = []
    for parts in ([path], storage_files(path) if path.is_dir() else []):
        for part in parts:
            try:
                opened.append(_open_even_truncated(part, stack))
            except SourceError as error:
                errors.append(error)
        if opened:
            break
    if not opened:
        raise SourceError('; '.join(map(str, errors)))
    for message in errors:
        logger.warning('%s; the rest is read', message)
    return opened


def _open_even_truncated(path: Path, stack: ExitStack) -> Any:
    try:
        reader = open_storage(path)
    except SourceError as error:
        if path.suffix != '.mcap' or not path.is_file():
            raise
        try:
            return TruncatedMcap(path)
        except ModuleNotFoundError as missing:
            raise SourceError(
                f'{error} To read the undamaged part, install {missing.name}: pip install mcap'
            ) from missing
    stack.callback(reader.close)
    return reader


class TruncatedMcap:
    """The messages of an MCAP file up to where its recording was cut off.

    Attributes:
        path: The file.
        connections: Its topics.
    """

    def __init__(self, path: Path) -> None:
        """Read the whole file and note the positions of its messages, since it has no index.

        Raises:
            SourceError: No message can be read.
        """
        self.path = path
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[str, str]] = {}  # topic and type
        self._positions: list[tuple[int, int, int]] = []  # position, first and last log time
        counts: Counter[tuple[str, str]] = Counter()
        reason = 'it is empty'
        try:
            for position, record in self._records():
                messages = self._messages(record)
                if messages:
                    times = [message.log_time for message in messages]
                    self._positions.append((position, min(times), max(times)))
                counts.update(self._channels[message.channel_id] for message in messages)
        except Exception as error:  # mcap raises errors of almost any type for a truncated file.
            reason = str(error) or type(error).__name__
        if not counts:
            raise SourceError(
                f'{path} cannot be read as a bag: it has no complete message ({reason})'
            )
        self.connections = [Topic(*name, count) for name, count in counts.items()]
        _warn_once(path, sum(counts.values()))

    def messages(
        self, connections: Collection[Topic], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Topic, int, bytes]]:
        """Yield messages as a `Reader` of rosbags does."""
        chosen = {(each.topic, each.msgtype): each for each in connections}
        begin, end = start or 0, stop or _MAX_TIME
        for position, first, last in self._positions:
            if begin <= last and first < end:
                [(_, record)] = itertools.islice(self._records(position), 1)
                for message in self._messages(record):
                    name = self._channels[message.channel_id]
                    if name in chosen and begin <= message.log_time < end:
                        yield chosen[name], message.log_time, message.data

    def _records(self, position: int = 0) -> Iterator[tuple[int, McapRecord]]:
        """Yield the records from a position on, each with its own position."""
        from mcap.stream_reader import StreamReader

        limit = self.path.stat().st_size  # A damaged length must not exhaust the memory.
        with self.path.open('rb') as stream:
            stream.seek(position or len(_MCAP_MAGIC))
            reader = StreamReader(
                stream, skip_magic=True, emit_chunks=True, record_size_limit=limit
            )
            position = stream.tell()
            for record in reader.records:
                yield position, record
                position = stream.tell()

    def _messages(self, record: McapRecord) -> list[Message]:
        """Return the messages in a record, and note the channels in it."""
        from mcap.records import Channel, Chunk, Message, Schema
        from mcap.stream_reader import breakup_chunk

        messages = []
        for each in breakup_chunk(record) if isinstance(record, Chunk) else [record]:
            if isinstance(each, Schema):
                self._schemas[each.id] = each.name
            elif isinstance(each, Channel):
                self._channels[each.id] = each.topic, self._schemas.get(each.schema_id, '')
            elif isinstance(each, Message) and each.channel_id in self._channels:
                messages.append(each)
        return messages


@lru_cache(maxsize=64)
def _warn_once(file: Path, count: int) -> None:
    """Report a truncated file the first time it is opened."""
    logger.warning('%s is truncated: only its first %d messages are read', file, count)


class BagImages:
    """The images of one topic of a bag, as a VideoSource."""

    def __init__(self, path: Path, *, topic: str | None = None) -> None:
        """Find the topic; None chooses the only image topic.

        Raises:
            SourceError: The bag cannot be read, has no such topic, or has several to choose from.
        """
        self.path = path
        self.files: Sequence[Path] = storage_files(path)
        with BagReader(path) as bag:
            images = [
                each
                for each in bag.connections
                if each.msgtype in (IMAGE, COMPRESSED_IMAGE) and each.msgcount
            ]
            self.topic = self._choose(images, topic)
            self._images = [each for each in images if each.topic == self.topic]
            self.count: int | None = sum(each.msgcount for each in self._images)
            self._is_stamped = any(self._first_stamps(bag))

    def read(self, since: int = 0, bits: int = 8) -> Iterator[VideoFrame]:
        """Yield the images logged at `since` (ns) or later; report unreadable ones.

        Raises:
            SourceError: The bag cannot be read, or none of its images can.
        """
        depth = BitDepth(bits)
        with BagReader(self.path) as bag:
            yield from skip_unreadable(
                partial(self._frame, raw, image.msgtype, logged, depth)
                for image, logged, raw in bag.messages(self._images, start=since or None)
            )

    def _frame(self, raw: bytes, msgtype: str, logged: int, depth: BitDepth) -> VideoFrame:
        try:
            header, image = read_image(raw, msgtype, depth)
        except SourceError as error:
            raise SourceError(
                f'{self.path}, {self.topic}: {error}; if no image of this topic can '
                f'be read, choose another one with --topic'
            ) from error
        stamp = header.stamp.sec * NANO + header.stamp.nanosec
        info = FrameInfo(
            stamp=stamp if self._is_stamped else logged,
            recorded=logged,
            frame_id=header.frame_id,
            bits=depth.bits,
        )
        return VideoFrame(image=image, info=info)

    def _first_stamps(self, bag: BagReader) -> Iterator[int]:
        """Yield the first stamps: a driver may leave all at 0; simulated time only begins at 0."""
        for image, _, raw in itertools.islice(bag.messages(self._images), CLOCK_SAMPLES):
            try:
                yield read_stamp(raw, image.msgtype)
            except SourceError:  # Reported when the images are read.
                continue

    def _choose(self, images: Sequence[Topic], topic: str | None) -> str:
        topics = {connection.topic: connection for connection in images}
        if topic is None and len(topics) == 1:
            return next(iter(topics))
        if topic in topics:
            return topic
        listed = ', '.join(
            f'{name} ({one.msgcount} of {one.msgtype.split("/")[-1]})'
            for name, one in sorted(topics.items())
        )
        if not topics:
            raise SourceError(f'{self.path} has no images on any topic')
        if topic is None:
            raise SourceError(
                f'{self.path} has several image topics, choose one with --topic: {listed}'
            )
        raise SourceError(
            f'{self.path} has no images on "{topic}", choose with --topic one of: {listed}'
        )
