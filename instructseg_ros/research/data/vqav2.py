"""VQAv2: open questions about COCO's images, each answered by ten people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.data.images import PictureFile
from instructseg_ros.research.data.questions import question, read_lines, read_list, write_lines
from instructseg_ros.research.data.reading import DataSet, Reading
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.data.synthetic import save_jpeg, scene

_SPLITS: Final = ('test-dev', 'val')
_LLAVA: Final = 'llava_vqav2_mscoco_test-dev2015.jsonl'
_TEST: Final = 'v2_OpenEnded_mscoco_test-dev2015_questions.json'
_VAL: Final = 'v2_OpenEnded_mscoco_val2014_questions.json'
_ANSWERS: Final = 'v2_mscoco_val2014_annotations.json'
_PROMPT: Final = 'Answer the question using a single word or phrase.'


def read(folder: Path, split: str) -> Reading:
    """Read a split; answers of test-dev are not published.

    Raises:
        DataError: a file is missing or damaged.
    """
    reading = Reading()
    if split == 'val':
        _read_val(reading, folder)
    elif (folder / _TEST).is_file() and not (folder / _LLAVA).is_file():
        for index, row in enumerate(read_list(folder / _TEST, 'questions')):
            reading.add(f'{folder / _TEST} entry {index}', partial(_test_sample, row, folder))
    else:
        for where, row in read_lines(folder / _LLAVA, reading):
            reading.add(where, partial(_llava_sample, row, folder))
    return reading


def _read_val(reading: Reading, folder: Path) -> None:
    answers: dict[Any, Any] = {}
    for index, row in enumerate(read_list(folder / _ANSWERS, 'annotations')):
        with reading.noting(f'{folder / _ANSWERS} entry {index}'):
            if isinstance(row, dict):
                answers[row.get('question_id')] = row
    for index, row in enumerate(read_list(folder / _VAL, 'questions')):
        reading.add(f'{folder / _VAL} entry {index}', partial(_val_sample, row, answers, folder))


def _llava_sample(row: Mapping[str, Any], folder: Path) -> Sample:
    picture = PictureFile(folder / 'test2015' / row['image'])
    return question(str(int(row['question_id'])), picture, row['text'])


def _test_sample(row: Mapping[str, Any], folder: Path) -> Sample:
    picture = _picture(row, folder, 'test2015')
    return question(str(int(row['question_id'])), picture, _worded(row))


def _val_sample(row: Mapping[str, Any], answers: Mapping[Any, Any], folder: Path) -> Sample:
    annotation = answers[row['question_id']]
    return question(
        str(int(row['question_id'])),
        _picture(row, folder, 'val2014'),
        _worded(row),
        annotation['multiple_choice_answer'],
        group=annotation.get('answer_type', ''),
        details={'answers': tuple(str(each['answer']) for each in annotation['answers'])},
    )


def _picture(row: Mapping[str, Any], folder: Path, images: str) -> PictureFile:
    return PictureFile(folder / images / f'COCO_{images}_{int(row["image_id"]):012}.jpg')


def _worded(row: Mapping[str, Any]) -> str:
    return f'{row["question"]}\n{_PROMPT}'


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set of both splits."""
    rng = np.random.default_rng(seed)
    tests, questions, annotations = [], [], []
    for number in range(1, 5):
        rgb, things = scene(rng)
        thing = things[-1]
        text = f'What colour is the {thing.kind}?'
        save_jpeg(folder / 'test2015' / f'COCO_test2015_{number:012}.jpg', rgb)
        save_jpeg(folder / 'val2014' / f'COCO_val2014_{number:012}.jpg', rgb)
        tests.append(
            {
                'question_id': number,
                'image': f'COCO_test2015_{number:012}.jpg',
                'text': f'{text}\n{_PROMPT}',
                'category': 'default',
            }
        )
        questions.append({'question_id': number, 'image_id': number, 'question': text})
        said = [thing.colour] * 8 + [f'dark {thing.colour}'] * 2
        annotations.append(
            {
                'question_id': number,
                'image_id': number,
                'multiple_choice_answer': thing.colour,
                'answer_type': 'other',
                'answers': [
                    {'answer_id': i, 'answer': each} for i, each in enumerate(said, start=1)
                ],
            }
        )
    write_lines(folder / _LLAVA, tests)
    for file in (_TEST, _VAL):
        (folder / file).write_text(json.dumps({'questions': questions}))
    (folder / _ANSWERS).write_text(json.dumps({'annotations': annotations}))


DATA_SETS: Final = (
    DataSet(
        name='vqav2',
        splits=_SPLITS,
        read=read,
        make_sample=make_sample,
        layout=f'test-dev: {_LLAVA} or {_TEST}, and test2015/*.jpg\n'
        f'val: {_VAL}, {_ANSWERS} and val2014/*.jpg',
    ),
)
