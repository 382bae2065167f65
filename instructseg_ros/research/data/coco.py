"""Reads a user's data in COCO JSON, which most annotation tools write."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.data.dataset import MaskBenchmark, Procedure
from instructseg_ros.research.data.reading import (
    DataError,
    MissingError,
    Reading,
    checked_texts,
    read_table,
)
from instructseg_ros.research.data.sample import ImageFile, Sample, SampleTask
from instructseg_ros.research.data.synthetic import save_jpeg, scene
from instructseg_ros.research.data.targets import (
    Appearance,
    CheckedTarget,
    CocoPolygons,
    Ring,
    RunLengths,
    Target,
    Union,
)
from instructseg_ros.research.evaluation.mask_scores import score_sentences
from instructseg_ros.video.rle import checked_size

_SPLITS: Final = ('train', 'val')
_FILES: Final = ('annotations/instances_{}.json', '{}.json', '{}/_annotations.coco.json')
_SENTENCES: Final = ('sentences', 'caption')
_MAX_NAMED: Final = 5  # annotations in a message
_MIN_NUMBERS: Final = 6  # numbers of a polygon: three corners
_Numbered = tuple[int, Mapping[str, Any]]  # index in the file, annotation


def read(folder: Path, split: str) -> Reading:
    """Read a split: objects of an image that share a category or sentences form one sample.

    Raises:
        DataError: Its file is missing or damaged.
    """
    names = [pattern.format(split) for pattern in _FILES]
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        raise MissingError(f'{folder} has none of {", ".join(names)}')
    content = read_table(file)
    reading = Reading()
    images = index_by_id(content.get('images'), 'image', 'file_name', file, reading)
    categories = index_by_id(content.get('categories', []), 'category', 'name', file, reading)
    annotations = content.get('annotations')
    if not isinstance(annotations, list):
        raise DataError(f'{file} is not COCO JSON: it has no list of annotations')
    groups: dict[_Group, list[_Numbered]] = defaultdict(list)
    for number, annotation in enumerate(annotations):
        where = f'{file} annotation {number}'
        with reading.noting(where):
            group = _group(annotation, images, categories)
            if group is None:
                continue
            first = _first_like(annotation, groups[group])
            if first is None:
                groups[group].append((number, annotation))
            else:
                reading.warn(where, f'it duplicates annotation {first} and is counted once')
    places = [folder / split, folder / 'images' / split, folder / 'images', folder]
    for key, (group, annotated) in enumerate(groups.items()):
        numbers = ', '.join(str(number) for number, _ in annotated[:_MAX_NAMED])
        numbers += ', ...' if len(annotated) > _MAX_NAMED else ''
        image = images[group.image] or {}
        where = f'{file} annotation {numbers} ({image.get("file_name")}, {group.texts[0]!r})'
        warn = partial(reading.warn, where)
        reading.add(where, partial(_sample, str(key), image, group, annotated, places, warn))
    return reading


@dataclasses.dataclass(frozen=True)
class _Group:
    """Key of the annotations that form one sample.

    Args:
        image: Id of the image.
        texts: Sentences of the annotations, or the name of their category.
        sentences: Whether the texts are sentences.
    """

    image: str
    texts: tuple[str, ...]
    sentences: bool


def index_by_id(
    entries: Any, noun: str, label: str, file: Path, reading: Reading
) -> dict[str, Mapping[str, Any] | None]:
    """Index images or categories by id; an id with several names gets None.

    Args:
        entries: The list in the file.
        noun: `image` or `category`, for messages.
        label: Key of an entry's name.
        file: The file, for messages.
        reading: Receives the problems.

    Raises:
        DataError: There is no such list.
    """
    if not isinstance(entries, list):
        raise DataError(f'{file} is not COCO JSON: it has no list with an entry for each {noun}')
    same: dict[str, dict[Any, Mapping[str, Any]]] = defaultdict(dict)
    for number, entry in enumerate(entries):
        with reading.noting(f'{file} {noun} {number}'):
            name, found = entry[label], read_id(entry['id'])
            same[found].setdefault(name, entry)
    for found, named in same.items():
        if len(named) > 1:
            names = ' and '.join(repr(name) for name in [*named][:2])
            reading.reject(
                f'{file} {noun} id {found}',
                f'{names} have the same id, so their annotations are left out: '
                f'give each {noun} a unique id',
            )
    return {
        found: next(iter(named.values())) if len(named) == 1 else None
        for found, named in same.items()
    }


def read_id(value: Any) -> str:
    """Convert an id to text: tools write 7, "7" and 7.0 for the same id."""
    if not isinstance(value, int | str | float):
        raise ValueError(f'an id must be a number or a text, not {value!r}')
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _group(
    annotation: Mapping[str, Any],
    images: Mapping[str, Mapping[str, Any] | None],
    categories: Mapping[str, Mapping[str, Any] | None],
) -> _Group | None:
    """Return the group of an annotation; None if its image or category was left out.

    Raises:
        ValueError: There is no such image, or the category has no name.
    """
    image = read_id(annotation['image_id'])
    if image not in images:
        raise ValueError(f'there is no image with the id {image}')
    if images[image] is None:
        return None
    if sentences := _sentences(annotation):
        return _Group(image, sentences, sentences=True)
    if annotation.get('category_id') is None:
        raise ValueError('it has neither sentences nor a category')
    identity = read_id(annotation['category_id'])
    category = categories.get(identity, {})
    if category is None:
        return None
    if not category.get('name'):
        raise ValueError(f'category {identity} has no name')
    return _Group(image, (str(category['name']),), sentences=False)


def _sentences(annotation: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the sentences of an annotation; () if it has none."""
    for name in _SENTENCES:
        if value := annotation.get(name):
            return checked_texts([value] if isinstance(value, str) else value, name)
    return ()


def _first_like(annotation: Mapping[str, Any], others: Sequence[_Numbered]) -> int | None:
    """Return the index of an earlier annotation with the same region; None if there is none."""
    region = annotation.get('segmentation')
    if not region:
        return None
    return next((each for each, other in others if other.get('segmentation') == region), None)


def _sample(
    key: str,
    image: Mapping[str, Any],
    group: _Group,
    annotated: Sequence[_Numbered],
    places: Sequence[Path],
    warn: Callable[[str], None],
) -> Sample:
    size = checked_size([int(image['height']), int(image['width'])])
    texts = group.texts
    if not group.sentences:
        words = ('all', 'every') if len(annotated) > 1 else ('the',)
        texts = tuple(f'{word} {texts[0]}' for word in words)
    files = [place / image['file_name'] for place in places]
    region = Union(tuple(_target(each['segmentation'], size, warn) for _, each in annotated))
    mistake = 'the segmentation has no pixel: draw it again, or remove the annotation'
    return Sample(
        key=key,
        task=SampleTask.IMAGE_REFERRING,
        frames=(ImageFile(next((file for file in files if file.is_file()), files[0])),),
        targets=(CheckedTarget(region, Appearance([region], mistake)),),
        instructions=texts,
    )


def _target(segmentation: Any, size: tuple[int, int], warn: Callable[[str], None]) -> Target:
    if isinstance(segmentation, Mapping):
        runs = RunLengths.parse(segmentation)
        if runs.size != size:
            raise ValueError(f'run lengths of {runs.size} for an image of {size}: height, width')
        return runs
    if not segmentation:
        raise ValueError('an annotation has no segmentation: boxes alone teach no masks')
    rings = read_rings(segmentation)
    whole = tuple(ring for ring in rings if len(ring) >= _MIN_NUMBERS)
    if 0 < len(whole) < len(rings):
        warn(
            f'{len(rings) - len(whole)} of {len(rings)} polygons have fewer than three corners '
            f'and are left out'
        )
    return CocoPolygons(size, whole or rings)


def read_rings(segmentation: Any) -> tuple[Ring, ...]:
    """Return the polygons of an annotation; some tools write a single one without a list."""
    if all(isinstance(number, int | float) for number in segmentation):
        segmentation = [segmentation]
    try:
        return tuple(tuple(float(number) for number in ring) for ring in segmentation)
    except (TypeError, ValueError):
        raise ValueError(
            'a segmentation is a list of polygons, each a list of numbers: x, y, x, y, ...'
        ) from None


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set: objects with a category, and one object of each image with sentences."""
    rng = np.random.default_rng(seed)
    for split in _SPLITS:
        images: list[dict[str, Any]] = []
        annotated: list[dict[str, Any]] = []
        names: dict[str, int] = {}
        for number in range(4):
            rgb, shapes = scene(rng)
            save_jpeg(folder / 'images' / split / f'{number}.jpg', rgb)
            images.append(
                {
                    'id': number,
                    'file_name': f'{number}.jpg',
                    'height': rgb.shape[0],
                    'width': rgb.shape[1],
                }
            )
            for shape in shapes:
                annotation: dict[str, Any] = {
                    'id': len(annotated),
                    'image_id': number,
                    'iscrowd': 0,
                    'category_id': names.setdefault(shape.form, len(names) + 1),
                    'segmentation': [list(shape.polygon)],
                    'bbox': list(shape.box),
                    'area': int(shape.mask.sum()),
                }
                annotated.append(annotation)
            annotation['sentences'] = [f'the {shape.name}']
        content = {
            'images': images,
            'annotations': annotated,
            'categories': [{'id': value, 'name': name} for name, value in names.items()],
        }
        file = folder / _FILES[0].format(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))


DATA_SETS: Final = (
    MaskBenchmark(
        name='coco',
        splits=_SPLITS,
        preferred=('val', 'train'),
        read=read,
        make_sample=make_sample,
        procedure=Procedure.ROBOT,
        score=partial(score_sentences, 'coco'),
        layout='annotations/instances_SPLIT.json (or SPLIT.json, or SPLIT/_annotations.coco.json)\n'
        'images/SPLIT/* (or images/*, or SPLIT/*)\n'
        '"sentences": [...] of an annotation describe it; without them, its category does',
    ),
)
