"""LLaVA's conversations about images (spec 6): those of its 665 thousand that have one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.data.images import PictureFile
from instructseg_ros.research.data.questions import read_list
from instructseg_ros.research.data.reading import DataSet, Reading
from instructseg_ros.research.data.sample import Kind, Sample, Turn
from instructseg_ros.research.data.synthetic import save_jpeg, scene

_FILE: Final = 'llava_v1_5_mix665k.json'
_IMAGE: Final = '<image>'


def read(folder: Path, split: str) -> Reading:
    """Read the conversations; those without an image are not InstructSeg's.

    Raises:
        DataError: the file is missing or damaged.
    """
    reading = Reading()
    for index, item in enumerate(read_list(folder / _FILE)):
        if not isinstance(item, dict) or 'image' in item:
            reading.add(f'{folder / _FILE} entry {index}', partial(_sample, item, index, folder))
    return reading


def _sample(item: Mapping[str, Any], index: int, folder: Path) -> Sample:
    return Sample(
        key=str(index),  # the published ids are those of images: many come several times
        kind=Kind.CONVERSATION,
        frames=(PictureFile(folder / item['image']),),
        turns=tuple(_turns(item['conversations'])),
    )


def _turns(said: Sequence[Mapping[str, str]]) -> list[Turn]:
    """Questions with their answers; an answer that no question precedes is left out.

    So does `MM_Conv_Dataset.preprocess_llama2` of the authors' datasets/InstructSegDatasets.py.
    """
    if said and said[0]['from'] == 'gpt':
        said = said[1:]
    speakers = [each['from'] for each in said]
    if not said or speakers != ['human', 'gpt'] * (len(said) // 2):
        raise ValueError(f'human and gpt take turns, not {", ".join(speakers[:4])}')
    texts = [each['value'].replace(_IMAGE, '').strip() for each in said]
    return [Turn(question=q, answer=a) for q, a in zip(texts[::2], texts[1::2], strict=True)]


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set in the published layout."""
    rng = np.random.default_rng(seed)
    items: list[dict[str, Any]] = [{'id': 'text-only', 'conversations': []}]
    for number in range(8):
        rgb, things = scene(rng)
        image = f'coco/train2017/{number:012}.jpg'
        save_jpeg(folder / image, rgb)
        thing = things[-1]
        said = [
            ('human', f'{_IMAGE}\nWhat colour is the {thing.kind}?'),
            ('gpt', thing.colour),
            ('human', f'How many corners does a {thing.kind} have?'),
            ('gpt', {'triangle': 'three', 'square': 'four'}.get(thing.kind, 'none')),
        ]
        conversations = [{'from': speaker, 'value': text} for speaker, text in said]
        items.append({'id': f'{number:012}', 'image': image, 'conversations': conversations})
    (folder / _FILE).write_text(json.dumps(items))


DATA_SETS: Final = (
    DataSet(
        name='llava',
        splits=('train',),
        read=read,
        make_sample=make_sample,
        layout=f'{_FILE}\ncoco/train2017, gqa/images, ocr_vqa/images, textvqa/train_images, '
        'vg/VG_100K and vg/VG_100K_2 with their pictures',
    ),
)
