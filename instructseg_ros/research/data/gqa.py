"""GQA: questions about how things of an image stand to each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.data.images import PictureFile
from instructseg_ros.research.data.questions import question
from instructseg_ros.research.data.reading import DataSet, Reading, read_table
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.data.synthetic import save_jpeg, scene

_SPLITS: Final = ('testdev_balanced', 'val_balanced')
_PROMPT: Final = 'Answer the question using a single word or phrase.'


def read(folder: Path, split: str) -> Reading:
    """Read a split.

    Raises:
        DataError: its file is missing or damaged.
    """
    file = folder / f'{split}_questions.json'
    reading = Reading()
    for key, row in read_table(file).items():
        reading.add(f'{file} {key}', partial(_sample, key, row, folder))
    return reading


def _sample(key: str, row: Mapping[str, Any], folder: Path) -> Sample:
    picture = PictureFile(folder / 'images' / f'{row["imageId"]}.jpg')
    group = row.get('types', {}).get('structural', '')
    return question(key, picture, f'{row["question"]}\n{_PROMPT}', row['answer'], group=group)


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set of all splits."""
    rng = np.random.default_rng(seed)
    for split in _SPLITS:
        rows = {}
        for number in range(4):
            rgb, things = scene(rng)
            name = f'n{split[0]}{number}'
            save_jpeg(folder / 'images' / f'{name}.jpg', rgb)
            rows[f'{number:08}'] = {
                'imageId': name,
                'question': f'Is there a {things[0].name}?',
                'answer': 'yes',
                'types': {'structural': 'verify'},
            }
        (folder / f'{split}_questions.json').write_text(json.dumps(rows))


DATA_SETS: Final = (
    DataSet(
        name='gqa',
        splits=_SPLITS,
        read=read,
        make_sample=make_sample,
        layout='SPLIT_questions.json\nimages/*.jpg',
    ),
)
