"""DAVIS 2017's figures for unlabelled objects, equal to its official evaluator's (spec 7.5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.data.ref_davis import annotations_of
from instructseg_ros.research.evaluation.boundary import region_and_boundary_of_frames
from instructseg_ros.research.evaluation.mask_files import read_labels
from instructseg_ros.streaming import image_files

_VOID: Final = 255
_MOST_OBJECTS: Final = 20
_BINS: Final = 4

Labels = list[np.ndarray]


def score_davis(truth: Path, predictions: Path, *, split: str = 'val') -> dict[str, Any]:
    """Score a folder of predictions: objects are paired so that they fit best.

    Args:
        truth: the data set.
        predictions: `VIDEO/FRAME.png`, whose pixels have their object's number; or a folder with
            these for each annotator, over whom the figures are averaged.

    Raises:
        DataError: the data set lacks its list of videos or its annotations.
        ValueError: a prediction is damaged, has another size than its frame or too many objects.
        FileNotFoundError: a prediction is missing.

    Returns:
        `J&F-Mean`, and mean, recall and decay of J and F, 0 to 1; under `objects` the means of
        each; under `annotators` the same for each where there are several.
    """
    listed = truth / 'ImageSets' / '2017' / f'{split}.txt'
    if not listed.is_file():
        raise DataError(f'{listed} is missing')
    videos = listed.read_text(encoding='utf-8-sig').split()
    folders = [predictions]
    if not any((predictions / video).is_dir() for video in videos):
        inside = (each for each in predictions.iterdir() if not image_files.is_clutter(each))
        folders = sorted(each for each in inside if each.is_dir())
    scores = {each.name: _score_all(annotations_of(truth), each, videos) for each in folders}
    if not scores:
        raise DataError(f'{predictions} has no folder of a video')
    if len(scores) == 1:
        return next(iter(scores.values()))
    names = [name for name in next(iter(scores.values())) if name != 'objects']
    means = {name: float(np.mean([each[name] for each in scores.values()])) for name in names}
    return {**means, 'annotators': scores}


def _score_all(truth: Path, predictions: Path, videos: Sequence[str]) -> dict[str, Any]:
    rows, objects = [], {}
    for video in tqdm(videos, 'scoring', disable=None):
        regions, boundaries = _score_video(truth / video, predictions / video)
        for number, (region, boundary) in enumerate(zip(regions, boundaries, strict=True), 1):
            row = [*_statistics(region), *_statistics(boundary)]
            rows.append(row)
            objects[f'{video}_{number}'] = {'J-Mean': row[0], 'F-Mean': row[3]}
    means = np.mean(rows, axis=0).tolist()
    names = [f'{letter}-{name}' for letter in 'JF' for name in ('Mean', 'Recall', 'Decay')]
    figures = dict(zip(names, means, strict=True))
    return {'J&F-Mean': (means[0] + means[3]) / 2, **figures, 'objects': objects}


def _score_video(truth: Path, predictions: Path) -> tuple[np.ndarray, np.ndarray]:
    """(objects, frames) J and F, in the order of the predicted objects that fit best."""
    from scipy.optimize import linear_sum_assignment

    files = sorted(each for each in truth.glob('*.png') if not image_files.is_clutter(each))
    if not files:
        raise DataError(f'{truth} has no *.png')
    true = [image_files.read_labels(file) for file in files]
    found = [
        np.where(labels == _VOID, 0, read_labels(predictions / file.name, labels.shape))
        for file, labels in zip(files, true, strict=True)
    ]
    count = max(int(labels[labels != _VOID].max(initial=0)) for labels in true)
    proposals = max(count, max(int(labels.max()) for labels in found))
    if proposals > _MOST_OBJECTS:
        raise ValueError(f'{predictions} has {proposals} objects: at most {_MOST_OBJECTS} count')
    table = np.array(
        [
            [_compare(found, true, mine, theirs) for theirs in range(1, count + 1)]
            for mine in range(1, proposals + 1)
        ]
    )
    rows, columns = linear_sum_assignment(-table.mean(axis=(2, 3)))
    chosen = table[rows, columns]
    return chosen[:, 0], chosen[:, 1]


def _compare(found: Labels, true: Labels, mine: int, theirs: int) -> np.ndarray:
    """(2, frames) J and F of a predicted object with a true one."""
    return region_and_boundary_of_frames(
        [labels == mine for labels in found], [labels == theirs for labels in true]
    )


def _statistics(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, recall and decay of (frames,) values: decay is the first quarter less the last."""
    ends = np.round(np.linspace(1, len(values), _BINS + 1) + 1e-10).astype(int) - 1
    quarters = [values[ends[i] : ends[i + 1] + 1].mean() for i in range(_BINS)]
    return float(values.mean()), float((values > 0.5).mean()), float(quarters[0] - quarters[-1])
