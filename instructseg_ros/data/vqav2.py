"""VQAv2: open questions about COCO's images, each answered by ten people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.data.pictures import PictureFile
from instructseg_ros.data.questions import question, read_lines, write_lines
from instructseg_ros.data.reading import DataSet, Reading, read_json
from instructseg_ros.data.sample import Sample
from instructseg_ros.data.synthetic import save_jpeg, scene

_SPLITS: Final = ('test-dev', 'val')
_TEST: Final = 'llava_vqav2_mscoco_test-dev2015.jsonl'
_QUESTIONS: Final = 'v2_OpenEnded_mscoco_val2014_questions.json'
_ANSWERS: Final = 'v2_mscoco_val2014_annotations.json'
_PROMPT: Final = 'Answer the question using a single word or phrase.'


def read(folder: Path, split: str) -> Reading:
    """Read a split; answers of test-dev are not published.

    Raises:
        DataError: a file is missing or damaged.
    """
    reading = Reading()
    if split == 'test-dev':
        for row in read_lines(folder / _TEST):
            reading.add(f'{_TEST} {row.get("question_id")}', partial(_test_sample, row, folder))
        return reading
    answers = {each['question_id']: each for each in read_json(folder / _ANSWERS)['annotations']}
    for row in read_json(folder / _QUESTIONS)['questions']:
        read_one = partial(_val_sample, row, answers, folder)
        reading.add(f'{_QUESTIONS} {row.get("question_id")}', read_one)
    return reading


def _test_sample(row: Mapping[str, Any], folder: Path) -> Sample:
    picture = PictureFile(folder / 'test2015' / row['image'])
    return question(str(row['question_id']), picture, row['text'])


def _val_sample(row: Mapping[str, Any], answers: Mapping[int, Any], folder: Path) -> Sample:
    annotation = answers[row['question_id']]
    name = f'COCO_val2014_{int(row["image_id"]):012}.jpg'
    return question(
        str(row['question_id']),
        PictureFile(folder / 'val2014' / name),
        f'{row["question"]}\n{_PROMPT}',
        annotation['multiple_choice_answer'],
        group=annotation.get('answer_type', ''),
        details={'answers': tuple(each['answer'] for each in annotation['answers'])},
    )


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
        tests.append({
            'question_id': number, 'image': f'COCO_test2015_{number:012}.jpg',
            'text': f'{text}\n{_PROMPT}', 'category': 'default',
        })  # fmt: skip
        questions.append({'question_id': number, 'image_id': number, 'question': text})
        said = [thing.colour] * 8 + [f'dark {thing.colour}'] * 2
        annotations.append({
            'question_id': number, 'image_id': number, 'multiple_choice_answer': thing.colour,
            'answer_type': 'other',
            'answers': [{'answer_id': i, 'answer': each} for i, each in enumerate(said, start=1)],
        })  # fmt: skip
    write_lines(folder / _TEST, tests)
    (folder / _QUESTIONS).write_text(json.dumps({'questions': questions}))
    (folder / _ANSWERS).write_text(json.dumps({'annotations': annotations}))


DATA_SETS: Final = (
    DataSet(
        name='vqav2',
        splits=_SPLITS,
        read=read,
        make_sample=make_sample,
        layout=f'test-dev: {_TEST} and test2015/*.jpg\n'
        f'val: {_QUESTIONS}, {_ANSWERS} and val2014/*.jpg',
    ),
)
