from __future__ import annotations

import base64
import csv
import io
from pathlib import Path

import pytest
from PIL import Image

from instructseg_ros.research.published import mmbench
from instructseg_ros.research.published.questions import BY_LETTER

FILE = 'mmbench_dev_20230712.tsv'


def picture() -> str:
    content = io.BytesIO()
    Image.new('RGB', (4, 3)).save(content, 'PNG')
    return base64.b64encode(content.getvalue()).decode()


def write(folder: Path, **changes: str) -> None:
    row = {
        'index': '7',
        'question': 'Which?',
        'hint': 'Look "here".',
        'A': 'one',
        'B': 'two',
        'C': 'nan',
        'D': '',
        'answer': 'B',
        'category': 'ocr',
        'image': picture(),
        'l2-category': 'coarse',
    } | changes
    with (folder / FILE).open('w', newline='') as stream:
        table = csv.DictWriter(stream, row, delimiter='\t')
        table.writeheader()
        table.writerow(row)


def test_a_question_has_its_hint_before_it_and_its_options_after_it(tmp_path: Path) -> None:
    write(tmp_path)
    [sample] = mmbench.read(tmp_path, 'dev').samples
    assert sample.turns[0].question == f'Look "here".\nWhich?\nA. one\nB. two\n{BY_LETTER}'
    assert (sample.key, sample.turns[0].answer, sample.group) == ('7', 'B', 'ocr')
    assert sample.frames[0].load().size == (4, 3)
    assert sample.details == {
        'index': 7,
        'question': 'Which?',
        'hint': 'Look "here".',
        'A': 'one',
        'B': 'two',
        'C': '',
        'D': '',
        'answer': 'B',
        'category': 'ocr',
        'l2-category': 'coarse',
    }


def test_without_a_hint_the_question_is_first(tmp_path: Path) -> None:
    write(tmp_path, hint='nan', D='four')
    [sample] = mmbench.read(tmp_path, 'dev').samples
    assert sample.turns[0].question == f'Which?\nA. one\nB. two\n{BY_LETTER}'


@pytest.mark.parametrize('missing', ['None', 'none', 'NA', 'N/A', 'NULL', 'NaN', '<NA>'])
def test_an_option_that_the_authors_treat_as_missing_is_dropped(
    tmp_path: Path, missing: str
) -> None:
    write(tmp_path, C=missing, hint=missing, D='four')
    [sample] = mmbench.read(tmp_path, 'dev').samples
    assert sample.turns[0].question == f'Which?\nA. one\nB. two\n{BY_LETTER}'


def test_a_question_whose_right_option_is_none_still_counts(tmp_path: Path) -> None:
    write(tmp_path, C='None', answer='C')
    [sample] = mmbench.read(tmp_path, 'dev').samples
    assert sample.turns[0].answer == 'C'
    assert 'C. ' not in sample.turns[0].question


def test_a_table_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / FILE
    file.write_bytes(b'\xef\xbb\xbf' + file.read_bytes())
    assert [sample.key for sample in mmbench.read(tmp_path, 'dev').samples] == ['7']


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'answer': 'C'}, "the answer must be one of 2 options, not 'C'"),
        ({'A': ''}, 'the answer must be one of 0 options'),
        ({'index': 'seven'}, "invalid literal for int() with base 10: 'seven'"),
        ({'image': 'no'}, 'padding'),
        ({'question': ' ', 'hint': ''}, 'no question'),
    ],
)
def test_a_broken_row_is_reported(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    write(tmp_path, **change)
    reading = mmbench.read(tmp_path, 'dev')
    assert not reading.samples
    [problem] = reading.problems
    assert str(problem).startswith(f'{tmp_path / FILE} ') and reason in str(problem)


def test_a_truncated_row_is_reported(tmp_path: Path) -> None:
    write(tmp_path)
    with (tmp_path / FILE).open('a') as stream:
        stream.write('8\tWhich')
    reading = mmbench.read(tmp_path, 'dev')
    assert [sample.key for sample in reading.samples] == ['7']
    assert len(reading.problems) == 1
