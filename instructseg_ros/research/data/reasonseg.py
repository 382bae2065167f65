"""ReasonSeg: questions that take thought, answered by a mask (spec 7.2)."""

from __future__ import annotations

import dataclasses
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
    read_text,
)
from instructseg_ros.research.data.sample import Kind, Sample
from instructseg_ros.research.data.synthetic import save_jpeg, scene
from instructseg_ros.research.data.targets import Polygons
from instructseg_ros.streaming.image_files import is_clutter

_SPLITS: Final = ('val', 'train', 'test')
_EXPLANATIONS: Final = 'explanatory/train.json'


@dataclasses.dataclass(frozen=True)
class PaintedPolygons:
    """Polygons painted over one another, the large ones first.

    This is what `get_mask_from_json` of the authors' datasets_mapper/IVS_mapper.py paints: among
    equally large ones it begins with the last of the file, so that the first is on top. (numpy's
    vectorised sorts, which some CPUs have since, leave that order open.)

    Args:
        size: (height, width).
        shapes: (label, x, y, x, y, ...) each; what a label with `ignore` covers is no target.
    """

    size: tuple[int, int]
    shapes: tuple[tuple[str, tuple[float, ...]], ...]

    def mask(self) -> np.ndarray:
        """(H, W) bool, what is target in the end."""
        return self._painted() == 1

    def ignored(self) -> np.ndarray:
        """(H, W) bool, what other evaluations leave out."""
        return self._painted() == 2

    def _painted(self) -> np.ndarray:
        values = np.zeros(self.size, dtype=np.uint8)
        areas = [Polygons(self.size, (ring,)).mask() for _, ring in self.shapes]
        rising = np.argsort([area.sum() for area in areas], kind='stable')
        for place in reversed(rising.tolist()):
            label, _ = self.shapes[place]
            values[areas[place]] = 2 if 'ignore' in label.lower() else 1
        return values


def read(folder: Path, split: str) -> Reading:
    """Read a split: pictures, each with a JSON file beside it.

    Raises:
        MissingError: the split's folder is missing.
        DataError: it has no picture.
    """
    if not (folder / split).is_dir():
        raise MissingError(f'{folder / split} is missing')
    pictures = sorted(each for each in (folder / split).glob('*.jpg') if not is_clutter(each))
    if not pictures:
        raise DataError(f'{folder / split} has no *.jpg')
    reading = Reading()
    explanations = _read_explanations(folder, reading) if split == 'train' else {}
    for picture in pictures:
        reading.add(str(picture.with_suffix('.json')), partial(_sample, picture, explanations))
    return reading


def _sample(picture: Path, explanations: Mapping[str, str]) -> Sample:
    # Some of the published files are Windows', and the authors read them so too.
    annotation = json.loads(read_text(picture.with_suffix('.json'), 'cp1252'))
    image = PictureFile(picture)
    text = annotation['text']
    sentences = [text] if isinstance(text, str) else list(text)
    if not sentences:
        raise ValueError('there is no text')
    shapes = tuple(
        (str(shape['label']), tuple(float(x) for point in shape['points'] for x in point))
        for shape in annotation['shapes']
        if str(shape['label']).lower() != 'flag'
    )
    return Sample(
        key=picture.stem,
        kind=Kind.IMAGE_REASONING,
        frames=(image,),
        targets=(PaintedPolygons(image.size(), shapes),),
        instructions=tuple(sentence.strip() for sentence in sentences),
        verbatim=True,
        explanation=explanations.get(picture.name, ''),
        group='sentence' if annotation.get('is_sentence') else 'phrase',
    )


def _read_explanations(folder: Path, reading: Reading) -> dict[str, str]:
    file = folder / _EXPLANATIONS
    explanations: dict[str, str] = {}
    for index, item in enumerate(read_list(file) if file.is_file() else ()):
        with reading.noting(f'{file} entry {index}'):
            explanations[item['image']] = item['outputs']
    return explanations


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set: pictures with labelme's files, and explanations of the training split."""
    rng = np.random.default_rng(seed)
    explanations = []
    for split in _SPLITS:
        for number in range(4):
            rgb, things = scene(rng)
            picture = folder / split / f'{number:03}.jpg'
            save_jpeg(picture, rgb)
            target, other = things[-1], things[0]
            shapes = [
                _shape('target', target.polygon),
                _shape('ignore', other.polygon),
                _shape('flag', other.polygon),
            ]
            sentence = f'What has the colour {target.colour} and {_corners(target.kind)}?'
            annotation = {'shapes': shapes, 'text': [sentence], 'is_sentence': True}
            picture.with_suffix('.json').write_text(json.dumps(annotation))
            if split == 'train':
                reason = f'It is the {target.kind}, because only that is {target.colour}.'
                explanations.append({'image': picture.name, 'query': sentence, 'outputs': reason})
    file = folder / _EXPLANATIONS
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(explanations))


def _shape(label: str, polygon: Sequence[float]) -> dict[str, Any]:
    points = np.reshape(polygon, (-1, 2)).tolist()
    return {'label': label, 'labels': [label], 'shape_type': 'polygon', 'points': points}


def _corners(kind: str) -> str:
    return {'triangle': 'three corners', 'square': 'four corners'}.get(kind, 'no corners')


DATA_SETS: Final = (
    DataSet(
        name='reasonseg',
        splits=_SPLITS,
        read=read,
        make_sample=make_sample,
        layout='SPLIT/*.jpg, each with a .json of the same name beside it\n'
        f'{_EXPLANATIONS} for the explanations of the training split',
    ),
)
