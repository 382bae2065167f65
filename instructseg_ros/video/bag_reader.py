"""The messages of a bag, in whatever state its recording was left."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rosbags.rosbag2 import Reader

from instructseg_ros.video.frame import SourceError
from instructseg_ros.video.source import storage_files

if TYPE_CHECKING:
    from mcap.records import McapRecord, Message

logger = logging.getLogger(__name__)
_EVER: Final = 2**64  # ns
_MAGIC: Final = b'\x89MCAP0\r\n'  # Begins every MCAP file.


@dataclass(frozen=True)
class Topic:
    """The messages of one type on one topic of a whole bag."""

    topic: str
    msgtype: str
    msgcount: int


class BagReader:
    """The messages of all storage files of a bag, in the order of the files; close it after use."""

    def __init__(self, path: Path) -> None:
        """Open a rosbag2 folder, with or without its metadata.yaml, or one of its storage files.

        Raises:
            SourceError: It cannot be read; the message names the bag.
        """
        self._path = path
        with ExitStack() as stack:
            self._storages = _open_all(path, stack)
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
        """Yield (topic, log time in ns, serialised message) from `start` to before `stop`.

        The rest of a damaged file is left out, with a warning.
        """
        chosen = {(each.topic, each.msgtype): each for each in connections}
        for storage in self._storages:
            mine = [each for each in storage.connections if (each.topic, each.msgtype) in chosen]
            try:
                # An empty collection would mean all of them to rosbags.
                for each, logged, raw in storage.messages(mine, start, stop) if mine else ():
                    yield chosen[each.topic, each.msgtype], logged, bytes(raw)
            except Exception as error:  # A damaged bag makes rosbags raise almost anything.
                logger.warning('%s is damaged, the rest of it is left out: %s', storage.path, error)


class CutOffMcap:
    """The messages of an MCAP file before the place where its recording was cut off.

    Attributes:
        path: The file.
        connections: Its topics.
    """

    def __init__(self, path: Path) -> None:
        """Read the whole file, and note where its messages are: the file has no index.

        Raises:
            SourceError: No message can be read.
        """
        self.path = path
        self._schemas: dict[int, str] = {}
        self._names: dict[int, tuple[str, str]] = {}  # topic and type of each channel
        self._places: list[tuple[int, int, int]] = []  # position, first and last log time
        counts: Counter[tuple[str, str]] = Counter()
        reason = 'it is empty'
        try:
            for position, record in self._records():
                messages = self._messages(record)
                if messages:
                    times = [message.log_time for message in messages]
                    self._places.append((position, min(times), max(times)))
                counts.update(self._names[message.channel_id] for message in messages)
        except Exception as error:  # The cut may make mcap raise almost anything.
            reason = str(error) or type(error).__name__
        if not counts:
            raise SourceError(f'it is cut off before its first message ({reason})')
        self.connections = [Topic(*name, count) for name, count in counts.items()]
        _warn_once(path, sum(counts.values()))

    def messages(
        self, connections: Collection[Topic], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Topic, int, bytes]]:
        """Yield what a `Reader` of rosbags yields."""
        chosen = {(each.topic, each.msgtype): each for each in connections}
        begin, end = start or 0, stop or _EVER
        for position, first, last in self._places:
            if begin <= last and first < end:
                [(_, record)] = itertools.islice(self._records(position), 1)
                for message in self._messages(record):
                    name = self._names[message.channel_id]
                    if name in chosen and begin <= message.log_time < end:
                        yield chosen[name], message.log_time, message.data

    def _records(self, position: int = 0) -> Iterator[tuple[int, McapRecord]]:
        """Yield the records from a position on, each with its own position."""
        from mcap.stream_reader import StreamReader

        limit = self.path.stat().st_size  # A damaged length must not fill the memory.
        with self.path.open('rb') as stream:
            stream.seek(position or len(_MAGIC))
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
                self._names[each.id] = each.topic, self._schemas.get(each.schema_id, '')
            elif isinstance(each, Message) and each.channel_id in self._names:
                messages.append(each)
        return messages


@lru_cache(maxsize=64)
def _warn_once(file: Path, count: int) -> None:
    """Report a file that is cut off, however often it is opened."""
    logger.warning('%s is cut off: the %d messages before its end are read', file, count)


def _open_all(path: Path, stack: ExitStack) -> list[Any]:
    """Open a folder as its metadata describes it, else each storage file that can be read.

    Raises:
        SourceError: Nothing can be read.
    """
    errors: list[str] = []
    opened: list[Any] = []
    for parts in ([path], storage_files(path) if path.is_dir() else []):
        for part in parts:
            try:
                opened.append(_open(part, stack))
            except Exception as error:  # A damaged bag makes rosbags raise almost anything.
                errors.append(f'{part} cannot be read as a bag: {error}')
        if opened:
            break
    if not opened:
        raise SourceError('; '.join(errors))
    for message in errors:
        logger.warning('%s; the rest is read', message)
    return opened


def _open(path: Path, stack: ExitStack) -> Any:
    try:
        return stack.enter_context(Reader(path))
    except Exception as error:
        if path.suffix != '.mcap':
            raise
        try:
            return CutOffMcap(path)
        except ModuleNotFoundError as missing:
            raise SourceError(
                f'{error} To read what is there, install {missing.name}: pip install mcap'
            ) from missing
