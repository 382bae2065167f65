"""MMBench: multiple choice, in a table that holds its pictures."""

from __future__ import annotations

import base64
import csv
import io
import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from instructseg_ros.research.data.images import PictureBytes
from instructseg_ros.research.data.questions import LETTERS, question, with_options
from instructseg_ros.research.data.reading import DataError, DataSet, Reading, check_file
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.data.synthetic import COLOURS, scene

_FILES: Final = {'dev': 'mmbench_dev_20230712.tsv', 'test': 'mmbench_test_20230712.tsv'}
_MOST_CHARACTERS: Final = 32 << 20  # of a picture in the table
# Without a value: what `pandas.read_table` leaves out, by which the authors read the table, and in
# any case what `VQA_Dataset_MMB.is_none` of their datasets/InstructSegDatasets.py does.
_MISSING: Final = frozenset(
    {
        '',
        '#N/A',
        '#N/A N/A',
        '#NA',
        '-1.#IND',
        '-1.#QNAN',
        '-NaN',
        '-nan',
        '1.#IND',
        '1.#QNAN',
        '<NA>',
        'N/A',
        'NA',
        'NULL',
        'n/a',
        'null',
    }
)
_EMPTY: Final = 'nan'
_MISSING_IN_ANY_CASE: Final = (_EMPTY, 'none')
_COLUMNS: Final = [
    'index',
    'question',
    'hint',
    *'ABCD',
    'answer',
    'category',
    'image',
    'l2-category',
]


def read(folder: Path, split: str) -> Reading:
    """Read a split; answers of the test split are not published.

    Raises:
        DataError: its file is missing or is no table.
    """
    file = folder / _FILES[split]
    reading = Reading()
    for row in _rows(file):
        reading.add(f'{file} {row.get("index")}', partial(_sample, row))
    return reading


def _rows(file: Path) -> Iterator[dict[str, str]]:
    check_file(file)
    csv.field_size_limit(_MOST_CHARACTERS)
    try:
        with file.open(newline='', encoding='utf-8-sig') as stream:
            yield from csv.DictReader(stream, delimiter='\t')
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f'{file} is not a table: {error}') from error


def _sample(row: Mapping[str, str]) -> Sample:
    values = {
        name: '' if _is_missing(value) else value
        for name, value in row.items()
        if name  # a row that is too long has values without
    }
    index, answer = int(values['index']), values.get('answer', '')
    options = [*itertools.takewhile(bool, (values.get(letter, '') for letter in LETTERS[:4]))]
    # An option "None" is not shown, but may be the right one: the question counts all the same.
    right = row.get(answer) or _EMPTY if answer in LETTERS[:4] else _EMPTY
    if not options or (answer and right.lower() == _EMPTY):
        raise ValueError(f'the answer is one of {len(options)} options, not {answer!r}')
    text = '\n'.join(part for part in (values.get('hint', ''), values['question']) if part)
    return question(
        str(index),
        PictureBytes(f'picture {index}', base64.b64decode(values['image'])),
        with_options(text, options),
        answer,
        group=values.get('category', ''),
        details={n: value for n, value in values.items() if n != 'image'} | {'index': index},
    )


def _is_missing(value: str | None) -> bool:
    return not value or value in _MISSING or value.lower() in _MISSING_IN_ANY_CASE


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set of both splits; one question of dev comes with its options rotated."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, name in _FILES.items():
        with (folder / name).open('w', newline='') as stream:
            table = csv.DictWriter(stream, _COLUMNS, delimiter='\t')
            table.writeheader()
            for number in range(4):
                table.writerows(_made_rows(rng, split, number))


def _made_rows(rng: np.random.Generator, split: str, number: int) -> Iterator[dict[str, Any]]:
    rgb, things = scene(rng)
    encoded = io.BytesIO()
    Image.fromarray(rgb).save(encoded, 'JPEG')
    thing = things[-1]
    options = [thing.colour, *(each for each in COLOURS if each != thing.colour)][:4]
    for rotation in range(2 if split == 'dev' and number == 0 else 1):
        turned = options[rotation:] + options[:rotation]
        yield {
            'index': number + 1_000_000 * rotation,
            'question': f'What colour is the {thing.kind}?',
            'hint': 'nan',
            **dict(zip('ABCD', turned, strict=True)),
            'answer': LETTERS[turned.index(thing.colour)] if split == 'dev' else '',
            'category': 'attribute_recognition',
            'image': base64.b64encode(encoded.getvalue()).decode(),
            'l2-category': 'finegrained_perception (instance-level)',
        }


DATA_SETS: Final = (
    DataSet(
        name='mmbench',
        splits=tuple(_FILES),
        read=read,
        make_sample=make_sample,
        layout='\n'.join(f'{split}: {name}' for split, name in _FILES.items()),
    ),
)
