"""A user's own data as COCO JSON, which most annotation tools write."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.data.pictures import PictureFile
from instructseg_ros.data.reading import (
    DataError,
    DataSet,
    MissingError,
    Reading,
    describe,
    read_table,
)
from instructseg_ros.data.sample import Kind, Sample
from instructseg_ros.data.synthetic import save_jpeg, scene
from instructseg_ros.data.targets import CocoPolygons, RunLengths, Target, Union

_SPLITS: Final = ('train', 'val')
_FILES: Final = ('annotations/instances_{}.json', '{}.json', '{}/_annotations.coco.json')
_SENTENCES: Final = ('sentences', 'caption')


def read(folder: Path, split: str) -> Reading:
    """Read a split: one sample for each sentence's or category's things in an image.

    Raises:
        DataError: its file is missing or damaged.
    """
    names = [pattern.format(split) for pattern in _FILES]
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        raise MissingError(f'{folder} has none of {", ".join(names)}')
    content = read_table(file)
    reading = Reading()
    try:
        pictures = {each['id']: each for each in content['images']}
        categories = {each['id']: each['name'] for each in content.get('categories', [])}
        annotations = list(content['annotations'])
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f'{file} is not COCO JSON: {describe(error)}') from error
    things: dict[tuple[int, tuple[str, ...]], list[Any]] = defaultdict(list)
    for index, annotation in enumerate(annotations):
        with reading.noting(f'{file} annotation {index}'):
            category = (categories.get(annotation.get('category_id'), ''),)
            texts = _own_sentences(annotation) or category
            things[annotation['image_id'], texts].append(annotation)
    places = [folder / split, folder / 'images' / split, folder / 'images', folder]
    for number, ((image, texts), together) in enumerate(things.items()):
        read_one = partial(_sample, str(number), pictures, image, texts, together, places)
        reading.add(f'{file} image {image} {texts[0]}', read_one)
    return reading


def _own_sentences(annotation: Mapping[str, Any]) -> tuple[str, ...]:
    """What an annotation is called by itself, where it is."""
    for name in _SENTENCES:
        if value := annotation.get(name):
            return (value,) if isinstance(value, str) else tuple(value)
    return ()


def _sample(
    key: str,
    pictures: Mapping[int, Any],
    image: int,
    texts: tuple[str, ...],
    things: Sequence[Mapping[str, Any]],
    places: Sequence[Path],
) -> Sample:
    picture = pictures[image]
    size = (int(picture['height']), int(picture['width']))
    if not all(texts):
        raise ValueError(f'category {things[0].get("category_id")} has no name')
    if not _own_sentences(things[0]):
        words = ('all', 'every') if len(things) > 1 else ('the',)
        texts = tuple(f'{word} {texts[0]}' for word in words)
    files = [place / picture['file_name'] for place in places]
    return Sample(
        key=key,
        kind=Kind.IMAGE_REFERRING,
        frames=(PictureFile(next((file for file in files if file.is_file()), files[0])),),
        targets=(Union(tuple(_target(each['segmentation'], size) for each in things)),),
        instructions=texts,
    )


def _target(segmentation: Any, size: tuple[int, int]) -> Target:
    if isinstance(segmentation, Mapping):
        return RunLengths.parse(segmentation)
    if not segmentation:
        raise ValueError('an annotation has no segmentation: boxes alone teach no masks')
    return CocoPolygons(size, tuple(tuple(float(x) for x in ring) for ring in segmentation))


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set: things by their category, and one with sentences of its own."""
    rng = np.random.default_rng(seed)
    for split in _SPLITS:
        images: list[dict[str, Any]] = []
        annotated: list[dict[str, Any]] = []
        names: dict[str, int] = {}
        for number in range(4):
            rgb, things = scene(rng)
            save_jpeg(folder / 'images' / split / f'{number}.jpg', rgb)
            images.append({'id': number, 'file_name': f'{number}.jpg', 'height': rgb.shape[0],
                           'width': rgb.shape[1]})  # fmt: skip
            for thing in things:
                annotation: dict[str, Any] = {
                    'id': len(annotated), 'image_id': number, 'iscrowd': 0,
                    'category_id': names.setdefault(thing.kind, len(names) + 1),
                    'segmentation': [list(thing.polygon)], 'bbox': list(thing.box),
                    'area': int(thing.mask.sum()),
                }  # fmt: skip
                annotated.append(annotation)
            annotation['sentences'] = [f'the {thing.name}']
        content = {
            'images': images,
            'annotations': annotated,
            'categories': [{'id': value, 'name': name} for name, value in names.items()],
        }
        file = folder / _FILES[0].format(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))


DATA_SETS: Final = (
    DataSet(
        name='coco',
        splits=_SPLITS,
        read=read,
        make_sample=make_sample,
        layout='annotations/instances_SPLIT.json (or SPLIT.json, or SPLIT/_annotations.coco.json)\n'
        'images/SPLIT/* (or images/*, or SPLIT/*)\n'
        '"sentences": [...] of an annotation name it; others are named by their category',
    ),
)
