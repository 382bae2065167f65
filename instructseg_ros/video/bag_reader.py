"""The messages of a bag, in whatever state its recording was left."""

from __future__ import annotations

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
            try:
                self._storages = [_open(file, stack) for file in _parts(path)]
            except Exception as error:  # A damaged bag makes rosbags raise almost anything.
                raise SourceError(f'{path} cannot be read as a bag: {error}') from error
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

    def messages(self, connections: Collection[Topic], start: int | None = None,
                 stop: int | None = None) -> Iterator[tuple[Topic, int, bytes]]:
        """Yield (topic, log time in ns, serialised message) from `start` to before `stop`.

        Raises:
            SourceError: The bag is damaged.
        """
        chosen = {(each.topic, each.msgtype): each for each in connections}
        try:
            for storage in self._storages:
                mine = [each for each in storage.connections
                        if (each.topic, each.msgtype) in chosen]
                # An empty collection would mean all of them to rosbags.
                for each, logged, raw in storage.messages(mine, start, stop) if mine else ():
                    yield chosen[each.topic, each.msgtype], logged, bytes(raw)
        except Exception as error:  # A damaged bag makes rosbags raise almost anything.
            raise SourceError(f'{self._path} cannot be read as a bag: {error}') from error


class CutOffMcap:
    """The messages of an MCAP file before the place where its recording was cut off.

    Such a file has no index: each use reads it from its start, and decodes what it asks for.
    """

    def __init__(self, file: Path) -> None:
        """Look at all of the file.

        Raises:
            SourceError: No message can be read.
        """
        self._file = file
        self._end = ''
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[str, str]] = {}
        counts = Counter(name for name, _ in self._read(0, _EVER))
        self.connections = [Topic(*name, count) for name, count in counts.items()]
        if not counts:
            raise SourceError(f'it is cut off before its first message ({self._end})')
        _warn_once(file, sum(counts.values()))

    def messages(self, connections: Collection[Topic], start: int | None = None,
                 stop: int | None = None) -> Iterator[tuple[Topic, int, bytes]]:
        """Yield what a `Reader` of rosbags yields."""
        chosen = {(each.topic, each.msgtype): each for each in connections}
        for name, message in self._read(start or 0, stop or _EVER):
            if name in chosen:
                yield chosen[name], message.log_time, message.data

    def _read(self, start: int, stop: int) -> Iterator[tuple[tuple[str, str], Message]]:
        """Yield (topic, type) and record of the messages logged in a span of time."""
        from mcap.records import Channel, Message, Schema

        for record in self._records(start, stop):
            if isinstance(record, Schema):
                self._schemas[record.id] = record.name
            elif isinstance(record, Channel):
                self._channels[record.id] = (
                    record.topic, self._schemas.get(record.schema_id, ''))
            elif (isinstance(record, Message) and record.channel_id in self._channels
                  and start <= record.log_time < stop):
                yield self._channels[record.channel_id], record

    def _records(self, start: int, stop: int) -> Iterator[McapRecord]:
        from mcap.records import Chunk
        from mcap.stream_reader import StreamReader, breakup_chunk

        limit = self._file.stat().st_size  # A damaged length must not fill the memory.
        with self._file.open('rb') as stream:
            try:
                reader = StreamReader(stream, emit_chunks=True, record_size_limit=limit)
                for record in reader.records:
                    if not isinstance(record, Chunk):
                        yield record
                    elif start <= record.message_end_time and record.message_start_time < stop:
                        yield from breakup_chunk(record)
            except Exception as error:  # The cut may make mcap raise almost anything.
                self._end = str(error) or type(error).__name__


@lru_cache(maxsize=64)
def _warn_once(file: Path, count: int) -> None:
    """Report a file that is cut off, however often it is opened."""
    logger.warning('%s is cut off: the %d messages before its end are read', file, count)


def _parts(path: Path) -> list[Path]:
    """Return what to open: the folder as its metadata describes it, else each storage file."""
    files = storage_files(path) if path.is_dir() else [path]
    if path.is_dir() and (path / 'metadata.yaml').is_file():
        try:
            with Reader(path):
                return [path]
        except Exception as error:
            if not files:
                raise
            logger.warning('%s: %s; its storage files are read one by one', path, error)
    return files


def _open(path: Path, stack: ExitStack) -> Any:
    try:
        return stack.enter_context(Reader(path))
    except Exception as error:
        if path.suffix != '.mcap':
            raise
        try:
            return CutOffMcap(path)
        except ModuleNotFoundError as missing:
            raise SourceError(f'{error} To read what is there, install {missing.name}: '
                              f'pip install mcap') from missing
