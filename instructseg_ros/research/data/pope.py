"""POPE: is a thing in the image, or does the model make it up?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.data.images import PictureFile
from instructseg_ros.research.data.questions import question, read_lines, write_lines
from instructseg_ros.research.data.reading import DataSet, Reading
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.data.synthetic import save_jpeg, scene

_SUBSETS: Final = ('random', 'popular', 'adversarial')
_PROMPT: Final = 'Answer the question using a single word or phrase.'


def read(folder: Path, split: str) -> Reading:
    """Read the three subsets as one split, a group each.

    Raises:
        DataError: a file is missing or damaged.
    """
    reading = Reading()
    for subset in _SUBSETS:
        file = folder / 'coco' / f'coco_pope_{subset}.json'
        for where, row in read_lines(file, reading):
            reading.add(where, partial(_sample, subset, row, folder))
    return reading


def _sample(subset: str, row: Mapping[str, Any], folder: Path) -> Sample:
    if row['label'] not in ('yes', 'no'):
        raise ValueError(f'a label is yes or no, not {row["label"]!r}')
    return question(
        f'{subset}-{row["question_id"]}',
        PictureFile(folder / 'val2014' / row['image']),
        f'{row["text"]}\n{_PROMPT}',
        row['label'],
        group=subset,
    )


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set: what is there, and what is not."""
    rng = np.random.default_rng(seed)
    for subset in _SUBSETS:
        rows: list[dict[str, Any]] = []
        for _ in range(2):
            rgb, things = scene(rng)
            image = f'COCO_val2014_{rng.integers(10**6):012}.jpg'
            save_jpeg(folder / 'val2014' / image, rgb)
            for name, label in ((things[0].name, 'yes'), ('black star', 'no')):
                text = f'Is there a {name} in the image?'
                rows.append(
                    {'question_id': len(rows) + 1, 'image': image, 'text': text, 'label': label}
                )
        write_lines(folder / 'coco' / f'coco_pope_{subset}.json', rows)


DATA_SETS: Final = (
    DataSet(
        name='pope',
        splits=('test',),
        read=read,
        make_sample=make_sample,
        layout='coco/coco_pope_random.json, coco_pope_popular.json, coco_pope_adversarial.json\n'
        'val2014/*.jpg',
    ),
)
