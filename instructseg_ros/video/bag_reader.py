"""The messages of a bag, in whatever state its recording was left."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosbags.rosbag2 import Reader

from instructseg_ros.video.frame import SourceError
from instructseg_ros.video.source import storage_files

if TYPE_CHECKING:
    from mcap.records import McapRecord

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Topic:
    """The messages of one type on one topic of a whole bag."""

    topic: str
    msgtype: str
    msgcount: int


class BagReader:
    """The messages of all storage files of a bag, in the order of the files."""

    def __init__(self, path: Path, storages: Sequence[Any]) -> None:
        """Join the opened storages of a bag, each a `Reader` of rosbags or a `CutOffMcap`."""
        self._path = path
        self._storages = storages
        counts: Counter[tuple[str, str]] = Counter()
        for storage in storages:
            for each in storage.connections:
                counts[each.topic, each.msgtype] += each.msgcount
        self.connections = [Topic(*name, count) for name, count in counts.items()]

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

    Such a file has no index, so that each use reads it from its start.
    """

    def __init__(self, file: Path) -> None:
        """Look at all of the file.

        Raises:
            SourceError: The package mcap is not installed, or no message can be read.
        """
        self._file = file
        self._end = ''
        counts: Counter[tuple[str, str]] = Counter(
            (topic, kind) for topic, kind, _, _ in self._read())
        self.connections = [Topic(*name, count) for name, count in counts.items()]
        if not counts:
            raise SourceError(f'it is cut off before its first message ({self._end})')
        _warn_once(file, sum(counts.values()))

    def messages(self, connections: Collection[Topic], start: int | None = None,
                 stop: int | None = None) -> Iterator[tuple[Topic, int, bytes]]:
        """Yield what a `Reader` of rosbags yields."""
        chosen = {(each.topic, each.msgtype): each for each in connections}
        for topic, kind, logged, raw in self._read():
            if (topic, kind) in chosen and (start or 0) <= logged < (stop or 2**64):
                yield chosen[topic, kind], logged, raw

    def _read(self) -> Iterator[tuple[str, str, int, bytes]]:
        """Yield topic, type, log time and content of the messages."""
        from mcap.records import Channel, Message, Schema

        schemas: dict[int, str] = {}
        channels: dict[int, tuple[str, str]] = {}
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record.name
            elif isinstance(record, Channel):
                channels[record.id] = (record.topic, schemas.get(record.schema_id, ''))
            elif isinstance(record, Message) and record.channel_id in channels:
                yield *channels[record.channel_id], record.log_time, record.data

    def _records(self) -> Iterator[McapRecord]:
        from mcap.stream_reader import StreamReader

        limit = self._file.stat().st_size  # A damaged length must not fill the memory.
        with self._file.open('rb') as stream:
            try:
                yield from StreamReader(stream, record_size_limit=limit).records
            except Exception as error:  # The cut may make mcap raise almost anything.
                self._end = str(error) or type(error).__name__


@lru_cache(maxsize=64)
def _warn_once(file: Path, count: int) -> None:
    """Report a file that is cut off, however often it is opened."""
    logger.warning('%s is cut off: the %d messages before its end are read', file, count)


@contextmanager
def open_bag(path: Path) -> Iterator[BagReader]:
    """Open a rosbag2 folder, with or without its metadata.yaml, or one of its storage files.

    Raises:
        SourceError: It cannot be read; the message names the bag.
    """
    with ExitStack() as stack:
        try:
            reader = BagReader(path, [_open(file, stack) for file in _parts(path)])
        except Exception as error:  # A damaged bag makes rosbags raise almost anything.
            raise SourceError(f'{path} cannot be read as a bag: {error}') from error
        yield reader


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
