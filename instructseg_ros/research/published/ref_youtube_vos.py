"""Ref-YouTube-VOS: sentences that refer to objects of videos (URVOS, Seo et al., ECCV 2020)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from instructseg_ros.research.data.dataset import MaskBenchmark, Procedure, row
from instructseg_ros.research.data.reading import MissingError, Reading, read_videos
from instructseg_ros.research.data.sample import ImageFile, Sample, SampleTask
from instructseg_ros.research.data.targets import MaskFile


def read(folder: Path, split: str) -> Reading:
    """Read a split: for validation one sample per sentence, for training one per object.

    Targets of the validation split are not published. Its file also lists the videos of the test
    split; these are left out.

    Raises:
        DataError: The sentences are missing or damaged.
    """
    file = _sentences_file(folder, split)
    videos = read_videos(file)
    test = _sentences_file(folder, 'test')
    if split == 'valid' and test.is_file():
        later = read_videos(test)
        videos = {name: video for name, video in videos.items() if name not in later}
    if not (folder / split / 'JPEGImages').is_dir():
        raise MissingError(f'{folder / split} has no JPEGImages')
    entries = _objects if split == 'train' else _sentences
    reading = Reading()
    for name, video in videos.items():
        with reading.noting(f'{file} {name}'):
            for key, read_one in entries(folder / split, name, video):
                reading.add(f'{file} {name} {key}', read_one)
    return reading


def _sentences_file(folder: Path, split: str) -> Path:
    return folder / 'meta_expressions' / split / 'meta_expressions.json'


def _sentences(folder: Path, name: str, video: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (number, partial(_sample, folder, name, video, number, [number]))
        for number in video['expressions']
    ]


def _objects(folder: Path, name: str, video: Mapping[str, Any]) -> list[tuple[str, Any]]:
    sentences: dict[str, list[str]] = defaultdict(list)
    for number, expression in video['expressions'].items():
        sentences[str(expression.get('obj_id', ''))].append(number)
    return [
        (
            f'object {label}',
            partial(_sample, folder, name, video, f'object{label}', numbers, int(label or -1)),
        )
        for label, numbers in sentences.items()
    ]


def _sample(
    folder: Path,
    name: str,
    video: Mapping[str, Any],
    key: str,
    numbers: Sequence[str],
    label: int | None = None,
) -> Sample:
    if label is not None and label < 1:
        raise ValueError('a sentence of the training split must have an obj_id')
    frames = tuple(video['frames'])
    masks = [MaskFile(folder / 'Annotations' / name / f'{frame}.png', label) for frame in frames]
    return Sample(
        key=f'{name}/{key}',
        task=SampleTask.VIDEO_REFERRING,
        frames=tuple(ImageFile(folder / 'JPEGImages' / name / f'{f}.jpg') for f in frames),
        targets=tuple(None if label is None else mask for mask in masks),
        instructions=tuple(video['expressions'][number]['exp'].strip() for number in numbers),
        joined=True,
        details={'video': name, 'names': frames},
    )


DATA_SETS: Final = (
    MaskBenchmark(
        name='ref-youtube-vos',
        splits=('valid', 'train'),
        read=read,
        layout='meta_expressions/SPLIT/meta_expressions.json\n'
        'meta_expressions/test/meta_expressions.json (valid lists its videos too)\n'
        'SPLIT/JPEGImages/VIDEO/*.jpg\ntrain/Annotations/VIDEO/*.png',
        procedure=Procedure.VIDEO,
        zipped=True,
        published={'J&F (of the server)': {'valid': row(67.5, ReferFormer=62.9, VISA_13B=63.0)}},
    ),
)
