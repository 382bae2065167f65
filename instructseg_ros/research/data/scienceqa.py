"""ScienceQA: school questions; those with an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.data.images import PictureFile
from instructseg_ros.research.data.questions import LETTERS, question, read_list, with_options
from instructseg_ros.research.data.reading import DataSet, Reading, read_table
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.data.synthetic import COLOURS, save_jpeg, scene

_SPLITS: Final = ('test', 'val', 'train')


def read(folder: Path, split: str) -> Reading:
    """Read the questions of a split that have an image.

    Raises:
        DataError: a file is missing or damaged.
    """
    file = folder / 'problems.json'
    problems = read_table(file)
    reading = Reading()
    for key in map(str, read_list(folder / 'pid_splits.json', split)):
        problem = problems.get(key, {})
        if not isinstance(problem, dict) or not problem or problem.get('image'):
            reading.add(f'{file} {key}', partial(_sample, key, problem, split, folder))
    return reading


def _sample(key: str, problem: Mapping[str, Any], split: str, folder: Path) -> Sample:
    text, options, answer = problem['question'], problem['choices'], problem['answer']
    # As LLaVA's tools word it; `create_one_example_chatbot` of their
    # convert_sqa_to_llava_base_prompt.py replaces two spaces by one, once.
    hint = (problem.get('hint') or '').strip()
    context = f'Context: {hint}\n' if hint else ''
    if answer not in range(len(options)):
        raise ValueError(f'the answer is one of {len(options)} choices, not {answer!r}')
    return question(
        key,
        PictureFile(folder / 'images' / split / key / problem['image']),
        with_options(f'{context}{text}', options).replace('  ', ' '),
        LETTERS[answer],
        group=problem.get('subject', ''),
        details={'options': tuple(options)},
    )


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set of all splits, with a question that has no image."""
    rng = np.random.default_rng(seed)
    problems: dict[str, Any] = {}
    splits: dict[str, list[str]] = {split: [] for split in _SPLITS}
    for split, keys in splits.items():
        for _ in range(3):
            rgb, things = scene(rng)
            key = str(len(problems) + 1)
            save_jpeg(folder / 'images' / split / key / 'image.png', rgb)
            options = list(COLOURS)[:4]
            thing = next((each for each in things if each.colour in options), None)
            problems[key] = {
                'question': 'Which of these colours is in the picture?',
                'choices': options,
                'answer': options.index(thing.colour) if thing else 0,
                'hint': 'The picture shows some things.' if int(key) % 2 else '',
                'image': 'image.png',
                'subject': 'natural science',
                'split': split,
            }
            keys.append(key)
    problems['text'] = {
        'question': 'What is 2 + 2?',
        'choices': ['3', '4'],
        'answer': 1,
        'hint': '',
        'image': None,
        'subject': 'language science',
        'split': 'test',
    }
    splits['test'].append('text')
    (folder / 'problems.json').write_text(json.dumps(problems))
    (folder / 'pid_splits.json').write_text(json.dumps(splits))


DATA_SETS: Final = (
    DataSet(
        name='scienceqa',
        splits=_SPLITS,
        read=read,
        make_sample=make_sample,
        layout='problems.json, pid_splits.json\nimages/SPLIT/NUMBER/image.png',
    ),
)
