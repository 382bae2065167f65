"""MMBench: multiple-choice questions in a table with images (Liu et al., ECCV 2024)."""

from __future__ import annotations

import base64
import csv
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from instructseg_ros.research.data.dataset import Answers, Figures, QuestionBenchmark, row
from instructseg_ros.research.data.reading import DataError, Reading, check_file
from instructseg_ros.research.data.sample import ImageBytes, Sample
from instructseg_ros.research.published.questions import (
    LETTERS,
    accuracy,
    count_missing,
    question,
    with_options,
)

_FILES: Final = {'dev': 'mmbench_dev_20230712.tsv', 'test': 'mmbench_test_20230712.tsv'}
_MAX_CHARACTERS: Final = 32 << 20  # characters of an image in the table
# Texts of empty cells: those that `pandas.read_table`, which the authors use, reads as missing, and
# those that `VQA_Dataset_MMB.is_none` in their datasets/InstructSegDatasets.py drops.
_NULLS = '#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|n/a|null'
_MISSING: Final = frozenset(_NULLS.split('|'))
_EMPTY: Final = 'nan'
_MISSING_IN_ANY_CASE: Final = (_EMPTY, 'none')
# A letter that is followed by a word is a word itself: `A dog`, `I see`.
_LETTER: Final = re.compile(r"^\W*([A-Z])(?! *[\w'])")
_NAMED: Final = re.compile(r'\b(?i:(?:answer|option|choice)(?: is)?)\W*([A-Z])\b')
_ROTATION: Final = 1_000_000  # index offset of a question with rotated options


def read(folder: Path, split: str) -> Reading:
    """Read a split; the answers of the test split are not published.

    Raises:
        DataError: Its file is missing or not a table.
    """
    file = folder / _FILES[split]
    reading = Reading()
    for entry in _rows(file):
        reading.add(f'{file} {entry.get("index")}', partial(_sample, entry))
    return reading


def _rows(file: Path) -> Iterator[dict[str, str]]:
    check_file(file)
    csv.field_size_limit(_MAX_CHARACTERS)
    try:
        with file.open(newline='', encoding='utf-8-sig') as stream:
            yield from csv.DictReader(stream, delimiter='\t')
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f'{file} is not a table: {error}') from error


def _sample(entry: Mapping[str, str]) -> Sample:
    values = {
        name: '' if _is_missing(value) else value
        for name, value in entry.items()
        if name  # surplus cells have no name
    }
    index, answer = int(values['index']), values.get('answer', '')
    options = [*itertools.takewhile(bool, (values.get(letter, '') for letter in LETTERS[:4]))]
    # The option "None" is not shown but may be the right one: the question counts nevertheless.
    right = entry.get(answer) or _EMPTY if answer in LETTERS[:4] else _EMPTY
    if not options or (answer and right.lower() == _EMPTY):
        raise ValueError(f'the answer must be one of {len(options)} options, not {answer!r}')
    text = '\n'.join(part for part in (values.get('hint', ''), values['question']) if part)
    return question(
        str(index),
        ImageBytes(f'image {index}', base64.b64decode(values['image'])),
        with_options(text, options),
        answer,
        group=values.get('category', ''),
        details={n: value for n, value in values.items() if n != 'image'} | {'index': index},
    )


def _is_missing(value: str | None) -> bool:
    return not value or value in _MISSING or value.lower() in _MISSING_IN_ANY_CASE


def score(samples: Sequence[Sample], answers: Answers) -> Figures:
    """Compute the share of right letters.

    `circular` is the share of questions that are right in all rotations of their options.
    If the true answers are not published (test split), only `n` and `missing` are returned.
    """
    if not samples or not all(sample.turns[0].answer for sample in samples):
        return {'n': len(samples), 'missing': count_missing(samples, answers)}
    rotations: dict[int, list[bool]] = {}
    for sample in samples:
        group = int(sample.details['index']) % _ROTATION
        rotations.setdefault(group, []).append(_is_right(sample, answers.get(sample.key, '')))
    circular = sum(all(each) for each in rotations.values()) / len(rotations)
    return accuracy(samples, answers, _is_right) | {'circular': circular}


def _is_right(sample: Sample, answer: str) -> bool:
    return letter_of(answer) == sample.turns[0].answer


def letter_of(answer: str) -> str:
    """Find the option that an answer names; '' for none or several."""
    if first := _LETTER.match(answer.strip()):
        return first[1]
    named = set(_NAMED.findall(answer))
    return named.pop() if len(named) == 1 else ''


def submit(samples: Sequence[Sample], answers: Answers, folder: Path) -> Path:
    """Write the table for MMBench's server: the original one, with answers instead of images.

    The answers are the model's words, unchanged; the server extracts the letter.
    """
    from openpyxl import Workbook

    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet()
    columns = [*dict.fromkeys(name for sample in samples for name in sample.details), 'prediction']
    sheet.append(columns)
    for sample in samples:
        values = {**sample.details, 'prediction': answers.get(sample.key, '').strip()}
        sheet.append([_cell(sheet, values.get(column, '')) for column in columns])
    file = folder / 'mmbench_upload.xlsx'
    workbook.save(file)
    return file


def _cell(sheet: Any, value: int | str) -> Any:
    """Create a cell that shows any text literally."""
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    if isinstance(value, int):
        return WriteOnlyCell(sheet, value)
    cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub('', value))
    cell.data_type = 's'  # even if the text starts like a formula
    return cell


DATA_SETS: Final = (
    QuestionBenchmark(
        name='mmbench',
        splits=tuple(_FILES),
        read=read,
        layout='\n'.join(f'{split}: {name}' for split, name in _FILES.items()),
        score=score,
        submit=submit,
        published={'circular': {'dev': row(68.6, **{'LLaVA-1.5-7B': 64.3})}},
    ),
)
