"""ReasonSeg: questions that need reasoning, answered by a mask (LISA, Lai et al., CVPR 2024)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from instructseg_ros.research.data.dataset import Figures, MaskBenchmark, Procedure, row
from instructseg_ros.research.data.reading import (
    DataError,
    MissingError,
    Reading,
    read_list,
    read_text,
)
from instructseg_ros.research.data.sample import ImageFile, Sample, SampleTask
from instructseg_ros.research.data.targets import Polygons, Target
from instructseg_ros.research.evaluation.mask_scores import joined_file, score_images
from instructseg_ros.streaming.image_files import is_clutter

_EXPLANATIONS: Final = 'explanatory/train.json'


@dataclasses.dataclass(frozen=True)
class PaintedPolygons:
    """Polygons painted over one another, from the largest to the smallest.

    The order is that of `get_mask_from_json` in the authors' datasets_mapper/IVS_mapper.py: among
    equally large polygons, the first in the file is painted last. (This needs a stable sort;
    numpy's vectorised sorts on some CPUs are not stable.)

    Args:
        size: (height, width).
        shapes: (label, (x, y, x, y, ...)) each; areas with `ignore` in the label are no targets.
    """

    size: tuple[int, int]
    shapes: tuple[tuple[str, tuple[float, ...]], ...]

    def mask(self) -> np.ndarray:
        """Return the (H, W) bool mask of the target."""
        return self._painted() == 1

    def ignored(self) -> np.ndarray:
        """Return the (H, W) bool mask of the pixels that other evaluations leave out."""
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
    """Read a split: images, each with a JSON file of the same name.

    Raises:
        MissingError: The folder of the split is missing.
        DataError: The folder has no image.
    """
    if not (folder / split).is_dir():
        raise MissingError(f'{folder / split} is missing')
    images = sorted(each for each in (folder / split).glob('*.jpg') if not is_clutter(each))
    if not images:
        raise DataError(f'{folder / split} has no *.jpg')
    reading = Reading()
    explanations = _read_explanations(folder, reading) if split == 'train' else {}
    for image in images:
        reading.add(str(image.with_suffix('.json')), partial(_sample, image, explanations))
    return reading


def _sample(file: Path, explanations: Mapping[str, str]) -> Sample:
    # Some published files have Windows' encoding; the authors read them with it.
    annotation = json.loads(read_text(file.with_suffix('.json'), 'cp1252'))
    image = ImageFile(file)
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
        key=file.stem,
        task=SampleTask.IMAGE_REASONING,
        frames=(image,),
        targets=(PaintedPolygons(image.size(), shapes),),
        instructions=tuple(sentence.strip() for sentence in sentences),
        verbatim=True,
        explanation=explanations.get(file.name, ''),
    )


def _read_explanations(folder: Path, reading: Reading) -> dict[str, str]:
    file = folder / _EXPLANATIONS
    explanations: dict[str, str] = {}
    for index, item in enumerate(read_list(file) if file.is_file() else ()):
        with reading.noting(f'{file} entry {index}'):
            explanations[item['image']] = item['outputs']
    return explanations


def score_reasonseg(truth: Path, predictions: Path, split: str | None = None) -> Figures:
    """Score predictions of ReasonSeg.

    Args:
        truth: Folder of the data set.
        predictions: Folder with `KEY.png` for each sample.
        split: Split of the data set, by default `val`.

    Returns:
        cIoU, gIoU and precision as the authors compute them, where ignored regions are background;
        under `ignoring`, these figures as other papers compute them, without the ignored pixels.

    Raises:
        DataError, ValueError: See `score_images`.
    """
    reading = read(truth, split or 'val')
    files = [(sample, joined_file(sample)) for sample in reading.samples]
    if not any((predictions / file).is_file() for _, file in files):
        raise DataError(f'{predictions} has no KEY.png of {split or "val"}')
    problems = [str(problem) for problem in reading.problems]
    figures = score_images(files, predictions, problems, counted=_counted)
    return {**figures, 'problems': problems}


def _counted(target: Target) -> np.ndarray | None:
    return ~target.ignored() if isinstance(target, PaintedPolygons) else None


DATA_SETS: Final = (
    MaskBenchmark(
        name='reasonseg',
        splits=('val', 'train', 'test'),
        read=read,
        layout='SPLIT/*.jpg, each with a .json of the same name next to it\n'
        f'{_EXPLANATIONS} for the explanations of the training split',
        procedure=Procedure.JOINED,
        score=score_reasonseg,
        published={
            'gIoU': {'val': row(61.9, LISA_7B=52.9, VISA_7B=52.7, GroundHog=56.2)},
            'cIoU': {'val': row(65.2, LISA_7B=54.0, VISA_7B=57.8)},
        },
    ),
)
