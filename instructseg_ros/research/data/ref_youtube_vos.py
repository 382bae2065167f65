"""Ref-YouTube-VOS: things of videos, each with sentences that refer to it (spec 7.4, 7.5)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from instructseg_ros.research.data.images import PictureFile
from instructseg_ros.research.data.reading import DataSet, MissingError, Reading, read_videos
from instructseg_ros.research.data.sample import Kind, Sample
from instructseg_ros.research.data.synthetic import Thing, clip, save_jpeg
from instructseg_ros.research.data.targets import MaskFile

_SPLITS: Final = ('valid', 'train')


def read(folder: Path, split: str) -> Reading:
    """Read a split: for validation a sample for each sentence, for training one for each thing.

    Targets of the validation split are not published. Its file lists the videos of the test split
    too; these are left out.

    Raises:
        DataError: the sentences are missing or damaged.
    """
    file = _sentences_file(folder, split)
    videos = read_videos(file)
    test = _sentences_file(folder, 'test')
    if split == 'valid' and test.is_file():
        later = read_videos(test)
        videos = {name: video for name, video in videos.items() if name not in later}
    if not (folder / split / 'JPEGImages').is_dir():
        raise MissingError(f'{folder / split} has no JPEGImages')
    one = _things if split == 'train' else _sentences
    reading = Reading()
    for name, video in videos.items():
        with reading.noting(f'{file} {name}'):
            for key, read_one in one(folder / split, name, video):
                reading.add(f'{file} {name} {key}', read_one)
    return reading


def _sentences_file(folder: Path, split: str) -> Path:
    return folder / 'meta_expressions' / split / 'meta_expressions.json'


def _sentences(folder: Path, name: str, video: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (number, partial(_sample, folder, name, video, number, [number]))
        for number in video['expressions']
    ]


def _things(folder: Path, name: str, video: Mapping[str, Any]) -> list[tuple[str, Any]]:
    of_thing: dict[str, list[str]] = defaultdict(list)
    for number, expression in video['expressions'].items():
        of_thing[str(expression.get('obj_id', ''))].append(number)
    return [
        (
            f'object {thing}',
            partial(_sample, folder, name, video, f'object{thing}', numbers, int(thing or -1)),
        )
        for thing, numbers in of_thing.items()
    ]


def _sample(
    folder: Path,
    name: str,
    video: Mapping[str, Any],
    key: str,
    numbers: Sequence[str],
    thing: int | None = None,
) -> Sample:
    if thing is not None and thing < 1:
        raise ValueError('a sentence of the training split has an obj_id')
    frames = tuple(video['frames'])
    masks = [MaskFile(folder / 'Annotations' / name / f'{frame}.png', thing) for frame in frames]
    return Sample(
        key=f'{name}/{key}',
        kind=Kind.VIDEO_REFERRING,
        frames=tuple(PictureFile(folder / 'JPEGImages' / name / f'{f}.jpg') for f in frames),
        targets=tuple(None if thing is None else mask for mask in masks),
        instructions=tuple(video['expressions'][number]['exp'].strip() for number in numbers),
        joined=True,
        details={'video': name, 'expression': key, 'names': frames},
    )


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set in the published layout."""
    rng = np.random.default_rng(seed)
    for split in _SPLITS:
        videos = {}
        for number in range(2):
            pictures, seen = clip(rng)
            name = f'{split}{number:06x}'
            frames = [f'{5 * index:05}' for index in range(len(pictures))]
            for frame, rgb, things in zip(frames, pictures, seen, strict=True):
                save_jpeg(folder / split / 'JPEGImages' / name / f'{frame}.jpg', rgb)
                if split == 'train':
                    save_labels(folder / split / 'Annotations' / name / f'{frame}.png', things)
            videos[name] = {'frames': frames, 'expressions': _expressions(seen[0], split)}
        file = _sentences_file(folder, split)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({'videos': videos}))


def save_labels(path: Path, things: Sequence[Thing]) -> None:
    """Write a picture whose pixels have the number of their thing, from 1 on."""
    labels = np.zeros(things[0].mask.shape, dtype=np.uint8)
    for number, thing in enumerate(things, start=1):
        labels[thing.mask] = number
    image = Image.fromarray(labels, mode='P')
    image.putpalette([0, 0, 0, 220, 40, 40, 40, 180, 60, 40, 80, 220])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _expressions(things: Sequence[Thing], split: str) -> dict[str, Any]:
    sentences = [(f'the {thing.name}', number) for number, thing in enumerate(things, start=1)]
    sentences += [(f'a {t.kind} that is {t.colour}', n) for n, t in enumerate(things, start=1)]
    return {
        str(index): {'exp': text} | ({'obj_id': str(thing)} if split == 'train' else {})
        for index, (text, thing) in enumerate(sentences)
    }


DATA_SETS: Final = (
    DataSet(
        name='ref-youtube-vos',
        splits=_SPLITS,
        read=read,
        make_sample=make_sample,
        layout='meta_expressions/SPLIT/meta_expressions.json\n'
        'meta_expressions/test/meta_expressions.json (valid lists its videos too)\n'
        'SPLIT/JPEGImages/VIDEO/*.jpg\ntrain/Annotations/VIDEO/*.png',
    ),
)
