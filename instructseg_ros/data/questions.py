"""What the question-answering sets have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from instructseg_ros.data.pictures import Picture
from instructseg_ros.data.reading import DataError
from instructseg_ros.data.sample import Kind, Sample, Turn

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
    lines = [f'{letter}. {option}' for letter, option in zip(LETTERS, options, strict=False)]
    return '\n'.join([text, *lines, BY_LETTER])


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Values of a file with a line of JSON for each.

    Raises:
        DataError: it is missing or a line is damaged.
    """
    try:
        return [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    except FileNotFoundError:
        raise DataError(f'{file} is missing') from None
    except ValueError as error:
        raise DataError(f'{file} is not a line of JSON each: {error}') from error


def write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a file that `read_lines` reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
