"""Readers for the files of a data set, and the result of reading one, which lists all problems."""

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
    """A file that the split needs does not exist."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem in a data set.

    Args:
        where: The file, and the entry in it.
        what: The problem in words.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f'{self.where}: {self.what}'


@dataclasses.dataclass
class Reading:
    """The content of a split.

    Args:
        samples: All usable samples.
        problems: Entries that were left out, and why.
        warnings: Entries that are used although they may be a mistake, and why.
    """

    samples: list[Sample] = dataclasses.field(default_factory=list)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    warnings: list[Problem] = dataclasses.field(default_factory=list)

    def add(self, where: str, read: Callable[[], Sample]) -> None:
        """Add a sample, or the reason why it cannot be read."""
        with self.noting(where):
            self.samples.append(dataclasses.replace(read(), where=where))

    def reject(self, where: str, what: str) -> None:
        """Add a problem with an entry that is left out."""
        self.problems.append(Problem(where, what))

    def warn(self, where: str, what: str) -> None:
        """Add a warning about an entry that is used."""
        self.warnings.append(Problem(where, what))

    @contextlib.contextmanager
    def noting(self, where: str) -> Iterator[None]:
        """Turn an error inside the block into a problem of the entry; continue after the block."""
        try:
            yield
        # ArithmeticError: JSON may contain infinity.
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
            OSError,
        ) as error:
            self.reject(where, describe(error))


def describe(error: Exception) -> str:
    """Describe an error in words: the message of a KeyError, for instance, is only the key."""
    if isinstance(error, KeyError):
        return f'{error.args[0]!r} is missing'
    if isinstance(error, AttributeError | TypeError):
        return f'it is not in the layout of the data set ({error})'
    return f'{error}' or type(error).__name__


def checked_texts(value: Any, name: str) -> tuple[str, ...]:
    """Return a list of texts after checking that it has at least one and that none is blank.

    Raises:
        ValueError: The value is something else; the message contains its name.
    """
    if not (isinstance(value, list) and value and all(map(_is_text, value))):
        raise ValueError(f'{name} must be a list of at least one text')
    return tuple(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def resolve_folder(folder: Path) -> Path:
    """Return the absolute path of a data set's folder.

    Raises:
        MissingError: There is no such folder; the message says how to fix it.
    """
    if not folder.is_dir():
        raise MissingError(f'{folder} is not a folder: name the folder of the data set with --data')
    return folder.resolve()


def check_file(file: Path) -> None:
    """Check that a file of a data set exists, and is not just a pointer of git-lfs.

    Raises:
        MissingError: The file does not exist.
        DataError: The file is only a pointer of git-lfs.
        OSError: The file cannot be opened.
    """
    try:
        pointer = is_lfs_pointer(file)
    except FileNotFoundError:
        raise MissingError(f'{file} is missing') from None
    if pointer:
        raise DataError(explain_lfs_pointer(file))


def read_text(file: Path, fallback: str) -> str:
    """Read a text file as UTF-8, or the whole file in another encoding if it is not UTF-8.

    Raises:
        MissingError: The file does not exist.
        OSError: The file cannot be opened.
        ValueError: The file is in neither encoding.
    """
    check_file(file)
    content = file.read_bytes()
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError:
        return content.decode(fallback)


def read_json(file: Path) -> Any:
    """Parse a JSON file in any UTF, with or without a byte order mark.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        check_file(file)
        return json.loads(file.read_bytes())
    except DataError:
        raise
    except (OSError, RecursionError, ValueError) as error:
        raise DataError(f'{file} is not readable as JSON: {error}') from error


def read_table(file: Path) -> dict[str, Any]:
    """Parse a JSON file that contains an object.

    Raises:
        DataError: The file is missing or damaged, or contains something else.
    """
    value = read_json(file)
    if not isinstance(value, dict):
        raise DataError(f'{file} does not contain a JSON object')
    return value


def read_list(file: Path, name: str | None = None) -> list[Any]:
    """Parse a JSON file that contains a list, or an object with a list of this name.

    Raises:
        DataError: The file is missing or damaged, or has no such list.
    """
    if name is not None:
        return read_lists(file, name)[0]
    value = read_json(file)
    if not isinstance(value, list):
        raise DataError(f'{file} has no list')
    return value


def read_lists(file: Path, *names: str) -> list[list[Any]]:
    """Parse a JSON file that contains an object with a list of each of these names.

    Raises:
        DataError: The file is missing or damaged, or lacks one of the lists.
    """
    table = read_table(file)
    for name in names:
        if not isinstance(table.get(name), list):
            raise DataError(f'{file} has no list of {name}')
    return [table[name] for name in names]


def read_videos(file: Path) -> dict[str, Any]:
    """Parse a JSON file that contains videos by name.

    Raises:
        DataError: The file is missing or damaged, or has no videos.
    """
    videos = read_table(file).get('videos')
    if not isinstance(videos, dict):
        raise DataError(f'{file} has no JSON object `videos`')
    return videos


def read_lines(file: Path, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Yield (place, value) for each line of a JSON Lines file; damaged lines become problems.

    Raises:
        DataError: The file is missing or not text.
    """
    try:
        check_file(file)
        lines = file.read_text(encoding='utf-8-sig').split('\n')
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(
            f'{file} is not readable as lines of JSON (save it as UTF-8): {error}'
        ) from error
    for number, line in enumerate(lines, start=1):
        where = f'{file} line {number}'
        try:
            if line.strip():
                yield where, json.loads(line)
        except (RecursionError, ValueError) as error:
            reading.reject(where, f'not JSON: {error}')
