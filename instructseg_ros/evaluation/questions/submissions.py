"""The files in which benchmarks take answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from instructseg_ros.data.sample import Sample
from instructseg_ros.evaluation.questions.matching import letter_of


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
    """Write the table that MMBench's server takes: the questions, and a letter for each."""
    from openpyxl import Workbook

    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet()
    columns = ['index', 'question', 'hint', 'A', 'B', 'C', 'D', 'prediction']
    sheet.append(columns)
    for sample in samples:
        row = dict(sample.details) | {'prediction': letter_of(answers.get(sample.key, ''))}
        sheet.append([row.get(column, '') for column in columns])
    file = folder / 'mmbench_upload.xlsx'
    workbook.save(file)
    return file
