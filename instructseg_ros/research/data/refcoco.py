"""RefCOCO, RefCOCO+ and RefCOCOg: sentences that tell one thing of an image from the others.

Both forms of the annotations are read: the authors' JSON, and the published `instances.json` with
`refs(unc).p` (RefCOCOg: `refs(umd).p`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.data.images import PictureFile
from instructseg_ros.research.data.questions import read_list
from instructseg_ros.research.data.reading import (
    DataError,
    DataSet,
    MissingError,
    Reading,
    check_file,
)
from instructseg_ros.research.data.refs_pickle import read_pickled_values, write_pickled_values
from instructseg_ros.research.data.sample import Kind, Sample
from instructseg_ros.research.data.synthetic import Thing, save_jpeg, scene
from instructseg_ros.research.data.targets import Polygons, RunLengths, Target

_SPLITS: Final = {
    'refcoco': ('val', 'testA', 'testB', 'train'),
    'refcoco+': ('val', 'testA', 'testB', 'train'),
    'refcocog': ('val', 'test', 'train'),
}
_AUTHORS: Final = {'refcoco': 'unc', 'refcoco+': 'unc', 'refcocog': 'umd'}
_INSTANCES: Final = 'instances.json'
_IMAGES: Final = ('images/train2014', 'train2014', 'images/mscoco/images/train2014')


def read(name: str, folder: Path, split: str) -> Reading:
    """Read a split.

    Args:
        name: `refcoco`, `refcoco+` or `refcocog`.

    Raises:
        DataError: neither form is there, or a file is damaged.
    """
    images = next((folder / each for each in _IMAGES if (folder / each).is_dir()), None)
    if images is None:
        raise DataError(f"{folder} has no {_IMAGES[0]}: put COCO's train2014 images there")
    theirs = folder / name / f'{name}_{split}.json'
    if theirs.is_file():
        return _read_authors(theirs, images)
    refs = folder / name / f'refs({_AUTHORS[name]})'
    if (folder / name / _INSTANCES).is_file():
        return _read_published(folder / name, refs, split, images)
    raise MissingError(f'{folder} has neither {name}/{theirs.name} nor {name}/{_INSTANCES}')


def _read_authors(file: Path, images: Path) -> Reading:
    reading = Reading()
    for index, item in enumerate(read_list(file)):
        reading.add(f'{file} entry {index}', partial(_authors_sample, item, index, images))
    return reading


def _authors_sample(item: Mapping[str, Any], index: int, images: Path) -> Sample:
    picture = item['image_info']
    [annotation] = item['anns']
    size = (int(picture['height']), int(picture['width']))
    return _sample(
        key=str(index),
        image=images / Path(picture['file_name']).name,
        target=_target(annotation['segmentation'], size),
        sentences=[each['sent'] for each in item['instruction']],
    )


def _read_published(folder: Path, refs: Path, split: str, images: Path) -> Reading:
    reading = Reading()
    pictures = _by_id(folder / _INSTANCES, 'images', reading)
    annotations = _by_id(folder / _INSTANCES, 'annotations', reading)
    file = _refs_file(refs)
    for index, ref in enumerate(_read_refs(file)):
        where = f'{file} entry {index}'
        with reading.noting(where):
            if ref['split'] == split:
                read_one = partial(_published_sample, ref, pictures, annotations, images)
                reading.add(where, read_one)
    return reading


def _by_id(file: Path, name: str, reading: Reading) -> dict[Any, Mapping[str, Any]]:
    """The entries of a list of a file by their ids."""
    entries = {}
    for index, entry in enumerate(read_list(file, name)):
        with reading.noting(f'{file} {name} {index}'):
            entries[entry['id']] = entry
    return entries


def _published_sample(
    ref: Mapping[str, Any],
    pictures: Mapping[int, Any],
    annotations: Mapping[int, Any],
    images: Path,
) -> Sample:
    picture = pictures[ref['image_id']]
    size = (int(picture['height']), int(picture['width']))
    return _sample(
        key=str(ref['ref_id']),
        image=images / picture['file_name'],
        target=_target(annotations[ref['ann_id']]['segmentation'], size),
        sentences=[each['sent'] for each in ref['sentences']],
    )


def _refs_file(refs: Path) -> Path:
    """The file with the sentences of all splits: the published pickle, or the same as JSON."""
    converted = refs.with_name('refs.json')
    return converted if converted.is_file() else refs.with_name(f'{refs.name}.p')


def _read_refs(file: Path) -> list[dict[str, Any]]:
    if file.suffix == '.json':
        return read_list(file)
    check_file(file)
    try:
        refs = read_pickled_values(file)
    except ValueError as error:
        raise DataError(str(error)) from error
    if not isinstance(refs, list):
        raise DataError(f'{file} has no list')
    return refs


def _sample(key: str, image: Path, target: Target, sentences: Sequence[str]) -> Sample:
    if not sentences:
        raise ValueError('there is no sentence')
    return Sample(
        key=key,
        kind=Kind.IMAGE_REFERRING,
        frames=(PictureFile(image),),
        targets=(target,),
        instructions=tuple(sentences),
        joined=True,
    )


def _target(segmentation: Any, size: tuple[int, int]) -> Target:
    if isinstance(segmentation, Mapping):
        return RunLengths.parse(segmentation)
    return Polygons(size, tuple(tuple(float(x) for x in ring) for ring in segmentation))


def make_sample(name: str, folder: Path, seed: int) -> None:
    """Write a tiny set: the authors' JSON of every split, and the published files of them all."""
    rng = np.random.default_rng(seed)
    instances: dict[str, list[Any]] = {'images': [], 'annotations': []}
    refs: list[dict[str, Any]] = []
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    for split in _SPLITS[name]:
        items: list[dict[str, Any]] = []
        for _ in range(4):
            rgb, things = scene(rng)
            picture = _write_picture(folder, rgb, len(instances['images']))
            instances['images'].append(picture)
            for thing in things:
                ref = _ref(thing, picture, split, len(refs))
                refs.append(ref)
                instances['annotations'].append(_annotation(thing, ref))
                items.append(_authors_item(thing, ref, picture, len(items)))
        (place / f'{name}_{split}.json').write_text(json.dumps(items))
    (place / _INSTANCES).write_text(json.dumps(instances))
    write_pickled_values(refs, place / f'refs({_AUTHORS[name]}).p')


def _write_picture(folder: Path, rgb: np.ndarray, number: int) -> dict[str, Any]:
    name = f'COCO_train2014_{number + 1:012}.jpg'
    save_jpeg(folder / _IMAGES[0] / name, rgb)
    return {'id': number + 1, 'file_name': name, 'height': rgb.shape[0], 'width': rgb.shape[1]}


def _ref(thing: Thing, picture: Mapping[str, Any], split: str, number: int) -> dict[str, Any]:
    sentences = [f'the {thing.name}', f'{thing.kind} in {thing.colour}']
    return {
        'ref_id': number,
        'ann_id': number + 100,
        'image_id': picture['id'],
        'file_name': picture['file_name'].replace('.jpg', f'_{number}.jpg'),
        'category_id': 1,
        'split': split,
        'sent_ids': [2 * number, 2 * number + 1],
        'sentences': [
            {'sent': text, 'raw': text, 'tokens': text.split(), 'sent_id': 2 * number + index}
            for index, text in enumerate(sentences)
        ],
    }


def _annotation(thing: Thing, ref: Mapping[str, Any]) -> dict[str, Any]:
    return {
        'id': ref['ann_id'],
        'image_id': ref['image_id'],
        'category_id': 1,
        'iscrowd': 0,
        'area': int(thing.mask.sum()),
        'bbox': list(thing.box),
        'segmentation': [list(thing.polygon)],
    }


def _authors_item(
    thing: Thing, ref: Mapping[str, Any], picture: Mapping[str, Any], number: int
) -> dict[str, Any]:
    x, y, width, height = thing.box
    annotation = _annotation(thing, ref) | {'bbox': [x, y, x + width, y + height]}
    return {
        'image_info': dict(picture),
        'new_img_id': number,
        'anns': [annotation],
        'instruction': ref['sentences'],
    }


DATA_SETS: Final = tuple(
    DataSet(
        name=name,
        splits=splits,
        read=partial(read, name),
        make_sample=partial(make_sample, name),
        layout=f'images/train2014/COCO_train2014_*.jpg\n'
        f'{name}/{name}_SPLIT.json as the authors of InstructSeg write it, or\n'
        f'{name}/instances.json with {name}/refs({_AUTHORS[name]}).p, or refs.json in its place',
    )
    for name, splits in _SPLITS.items()
)
