"""LLaVA-1.5's training conversations about images (a part of its 665,000 conversations)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.data.dataset import DataSet
from instructseg_ros.research.data.reading import Reading, read_list
from instructseg_ros.research.data.sample import ImageFile, Sample, SampleTask, Turn
from instructseg_ros.research.data.synthetic import FORMS, save_jpeg, scene

_FILE: Final = 'llava_v1_5_mix665k.json'
_IMAGE: Final = '<image>'


def read(folder: Path, split: str) -> Reading:
    """Read the conversations; InstructSeg does not use those without an image.

    Raises:
        DataError: The file is missing or damaged.
    """
    reading = Reading()
    for index, item in enumerate(read_list(folder / _FILE)):
        if not isinstance(item, dict) or 'image' in item:
            reading.add(f'{folder / _FILE} entry {index}', partial(_sample, item, index, folder))
    return reading


def _sample(item: Mapping[str, Any], index: int, folder: Path) -> Sample:
    return Sample(
        key=str(index),  # the published id is the image's and is not unique
        task=SampleTask.CONVERSATION,
        frames=(ImageFile(folder / item['image']),),
        turns=tuple(_turns(item['conversations'])),
    )


def _turns(messages: Sequence[Mapping[str, str]]) -> list[Turn]:
    """Pair questions with answers; a leading answer without a question is left out.

    See `MM_Conv_Dataset.preprocess_llama2` of the authors' datasets/InstructSegDatasets.py.
    """
    if messages and messages[0]['from'] == 'gpt':
        messages = messages[1:]
    speakers = [each['from'] for each in messages]
    if not messages or speakers != ['human', 'gpt'] * (len(messages) // 2):
        found = ', '.join(speakers[:4]) or 'nothing'
        raise ValueError(f'human and gpt must take turns, but the speakers are {found}')
    texts = [each['value'].replace(_IMAGE, '').strip() for each in messages]
    return [Turn(question=q, answer=a) for q, a in zip(texts[::2], texts[1::2], strict=True)]


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set of conversations, which `instructseg train --smoke` learns from."""
    rng = np.random.default_rng(seed)
    items: list[dict[str, Any]] = []
    for number in range(8):
        rgb, shapes = scene(rng)
        image = f'coco/train2017/{number:012}.jpg'
        save_jpeg(folder / image, rgb)
        form = shapes[-1].form
        messages = [
            ('human', f'{_IMAGE}\nWhat color is the {form}?'),
            ('gpt', shapes[-1].color),
            ('human', f'How many corners does a {form} have?'),
            ('gpt', 'none' if form == 'circle' else str(FORMS[form])),
        ]
        conversations = [{'from': speaker, 'value': text} for speaker, text in messages]
        items.append({'id': f'{number:012}', 'image': image, 'conversations': conversations})
    (folder / _FILE).write_text(json.dumps(items))


DATA_SETS: Final = (
    DataSet(
        name='llava',
        splits=('train',),
        read=read,
        make_sample=make_sample,
        layout=f'{_FILE}\ncoco/train2017, gqa/images, ocr_vqa/images, textvqa/train_images, '
        'vg/VG_100K and vg/VG_100K_2 with their images',
    ),
)
