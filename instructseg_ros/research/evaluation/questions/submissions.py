"""The files in which benchmarks take answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instructseg_ros.research.data.sample import Sample


def write_gqa(samples: Sequence[Sample], answers: Mapping[str, str], folder: Path) -> Path:
    """Write what GQA's evaluator reads."""
    rows = [
        {
            'questionId': sample.key,
            'prediction': answers.get(sample.key, '').strip().rstrip('.').lower(),
        }
        for sample in samples
    ]
    file = folder / 'gqa_predictions.json'
    file.write_text(json.dumps(rows))
    return file


def write_mmbench(samples: Sequence[Sample], answers: Mapping[str, str], folder: Path) -> Path:
    """Write the table that MMBench's server takes: its own without pictures, and the answers.

    The answers are the model's words: the server has its own ways to find a letter in them.
    """
    from openpyxl import Workbook

    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet()
    columns = [*dict.fromkeys(name for sample in samples for name in sample.details), 'prediction']
    sheet.append(columns)
    for sample in samples:
        row = {**sample.details, 'prediction': answers.get(sample.key, '').strip()}
        sheet.append([_cell(sheet, row.get(column, '')) for column in columns])
    file = folder / 'mmbench_upload.xlsx'
    workbook.save(file)
    return file


def _cell(sheet: Any, value: int | str) -> Any:
    """A cell that shows a text as it is, whatever a model wrote."""
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    if isinstance(value, int):
        return WriteOnlyCell(sheet, value)
    cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub('', value))
    cell.data_type = 's'  # also where it begins like a formula
    return cell
