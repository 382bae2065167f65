"""What the question-answering sets have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from instructseg_ros.research.data.images import Picture
from instructseg_ros.research.data.reading import (
    DataError,
    Problem,
    Reading,
    check_file,
    read_json,
    read_table,
)
from instructseg_ros.research.data.sample import Kind, Sample, Turn

LETTERS: Final = 'ABCDEFGH'
BY_LETTER: Final = "Answer with the option's letter from the given choices directly."


def question(
    key: str,
    picture: Picture,
    text: str,
    answer: str = '',
    *,
    group: str = '',
    details: Mapping[str, Any] | None = None,
) -> Sample:
    """A sample of one question about one picture."""
    if not text.strip():
        raise ValueError('there is no question')
    return Sample(
        key=key,
        kind=Kind.CONVERSATION,
        frames=(picture,),
        turns=(Turn(question=text.strip(), answer=answer),),
        group=group,
        details=details or {},
    )


def with_options(text: str, options: Sequence[str]) -> str:
    """A question with its options, a letter each, to be answered by a letter."""
    if not text.strip():
        raise ValueError('there is no question')
    lines = [f'{letter}. {option}' for letter, option in zip(LETTERS, options, strict=False)]
    return '\n'.join([text, *lines, BY_LETTER])


def read_lines(file: Path, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Values of a file with a line of JSON for each, and where each is.

    A line that is damaged is a problem of the reading.

    Raises:
        DataError: the file is missing or no text.
    """
    try:
        check_file(file)
        lines = file.read_text(encoding='utf-8-sig').split('\n')
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(
            f'{file} is not readable as lines of JSON, save it as UTF-8: {error}'
        ) from error
    for number, line in enumerate(lines, start=1):
        where = f'{file} line {number}'
        try:
            if line.strip():
                yield where, json.loads(line)
        except (RecursionError, ValueError) as error:
            reading.problems.append(Problem(where, f'not JSON: {error}'))


def read_list(file: Path, name: str | None = None) -> list[Any]:
    """The list that a JSON file is, or has under a name.

    Raises:
        DataError: it is missing or damaged, or there is no list.
    """
    value = read_json(file) if name is None else read_table(file).get(name)
    if not isinstance(value, list):
        raise DataError(f'{file} has no list{f" of {name}" if name else ""}')
    return value


def write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a file that `read_lines` reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
