"""What reading a data set gives: its samples, and by name what was missing or broken."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from instructseg_ros.model.model_files import explain_lfs_pointer, is_lfs_pointer
from instructseg_ros.research.data.sample import Sample


class DataError(ValueError):
    """A data set cannot be read; the message says what is missing and where it belongs."""


class MissingError(DataError):
    """A file that a split is read from is not there."""


def resolve_folder(folder: Path) -> Path:
    """Absolute path of a data set's folder.

    Raises:
        MissingError: There is no such folder; the message names the remedy.
    """
    if not folder.is_dir():
        raise MissingError(f'{folder} is not a folder: name the one of the data set with --data')
    return folder.resolve()


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a data set.

    Args:
        where: the file, and the entry in it.
        what: in words.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f'{self.where}: {self.what}'


@dataclasses.dataclass
class Reading:
    """A data set that was read.

    Args:
        samples: all that can be used.
        problems: what was left out, and why.
        warnings: what is used although it may be a mistake, and why.
    """

    samples: list[Sample] = dataclasses.field(default_factory=list)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    warnings: list[Problem] = dataclasses.field(default_factory=list)

    def add(self, where: str, read: Callable[[], Sample]) -> None:
        """Add a sample, or the reason why it cannot be read."""
        with self.noting(where):
            self.samples.append(dataclasses.replace(read(), where=where))

    def warn(self, where: str, what: str) -> None:
        """Add a warning about an entry that is used."""
        self.warnings.append(Problem(where, what))

    @contextlib.contextmanager
    def noting(self, where: str) -> Iterator[None]:
        """Add what is wrong with the entry that is read inside as a problem, and go on behind."""
        try:
            yield
        # ArithmeticError: JSON has numbers without end.
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
            OSError,
        ) as error:
            self.problems.append(Problem(where, describe(error)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set by name.

    Args:
        splits: the first is the one that is evaluated unless another is named.
        read: (folder, split) -> what is there. It names pictures without opening them.

            Raises DataError where nothing can be read: the message names the missing file.
        make_sample: (folder, seed) -> writes a tiny synthetic set in the official layout.
        layout: the files and folders that it has, for people: a line each.
    """

    name: str
    splits: tuple[str, ...]
    read: Callable[[Path, str], Reading]
    make_sample: Callable[[Path, int], None]
    layout: str

    def known_split(self, split: str | None) -> str:
        """The split of a name, or the first one.

        Raises:
            DataError: there is none of that name.
        """
        if split is not None and split not in self.splits:
            known = ', '.join(self.splits)
            raise DataError(f'{self.name} has no split {split!r}; there are {known}')
        return split or self.splits[0]


def check_file(file: Path) -> None:
    """Raise where a file of a data set cannot have its content.

    Raises:
        MissingError: It is not there.
        DataError: It is only a pointer of git-lfs.
        OSError: It cannot be opened.
    """
    try:
        pointer = is_lfs_pointer(file)
    except FileNotFoundError:
        raise MissingError(f'{file} is missing') from None
    if pointer:
        raise DataError(explain_lfs_pointer(file))


def read_text(file: Path, fallback: str) -> str:
    """Read a text in UTF-8, or a whole one that is not UTF-8 in another encoding.

    Raises:
        MissingError: it is not there.
        OSError: it cannot be opened.
        ValueError: it is in neither encoding.
    """
    check_file(file)
    content = file.read_bytes()
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError:
        return content.decode(fallback)


def read_json(file: Path) -> Any:
    """Parse a JSON file.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        check_file(file)
        return json.loads(file.read_bytes())  # of any UTF, with or without a byte order mark
    except DataError:
        raise
    except (OSError, RecursionError, ValueError) as error:
        raise DataError(f'{file} is not readable as JSON: {error}') from error


def read_table(file: Path) -> dict[str, Any]:
    """The values by name that a JSON file is.

    Raises:
        DataError: it is missing or damaged, or something else.
    """
    value = read_json(file)
    if not isinstance(value, dict):
        raise DataError(f'{file} has no values by name')
    return value


def read_videos(file: Path) -> dict[str, Any]:
    """The videos by name that a JSON file has.

    Raises:
        DataError: it is missing or damaged, or has none.
    """
    videos = read_table(file).get('videos')
    if not isinstance(videos, dict):
        raise DataError(f'{file} has no videos by name')
    return videos


def describe(error: Exception) -> str:
    """An error in words: a KeyError says only what it looked for, a TypeError what failed."""
    if isinstance(error, KeyError):
        return f'{error.args[0]!r} is missing'
    if isinstance(error, AttributeError | TypeError):
        return f'it is not in the layout of the data set ({error})'
    return f'{error}' or type(error).__name__
