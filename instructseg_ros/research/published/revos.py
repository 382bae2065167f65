"""ReVOS: videos with referring and reasoning sentences (VISA, Yan et al., ECCV 2024).

The figures equal those of VISA's tools/eval_revos.py, which the authors of InstructSeg use
unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from instructseg_ros.research.data.dataset import Figures, MaskBenchmark, Procedure, row
from instructseg_ros.research.data.mask_files import read_prediction
from instructseg_ros.research.data.reading import Reading, read_table, read_videos
from instructseg_ros.research.data.sample import ImageFile, Sample, SampleTask
from instructseg_ros.research.data.targets import EmptyMask, RunLengths, Target, Union
from instructseg_ros.research.evaluation.metrics import boundary_accuracy, intersection_over_union
from instructseg_ros.streaming.image_files import read_labels

_MASKS: Final = 'mask_dict.json'
_FOREGROUND: Final = 'mask_dict_foreground.json'
_PLACES: Final = ('JPEGImages', '.')
_GROUPS: Final = {0: 'referring', 1: 'reasoning'}  # by type_id; other types have no group
_EPSILON: Final = 1e-6
_FIGURES: Final = ('J', 'F', 'A', 'R', 'A corrected', 'R corrected')

Row = dict[str, float]


def read(folder: Path, split: str) -> Reading:
    """Read a split: one sample for each video and sentence.

    Raises:
        DataError: A file is missing or damaged.
    """
    file = folder / f'meta_expressions_{split}_.json'
    videos = read_videos(file)
    masks = read_table(folder / _MASKS)
    places = [folder / place for place in _PLACES]
    # Frames may be missing: scoring does not need them.
    frames = next((p for p in places if any((p / name).is_dir() for name in videos)), places[0])
    reading = Reading()
    for name, video in videos.items():
        with reading.noting(f'{file} {name}'):
            for number, expression in video['expressions'].items():
                read_one = partial(_sample, name, number, video, expression, masks, frames)
                reading.add(f'{file} {name} {number}', read_one)
    return reading


def _sample(
    name: str,
    number: str,
    video: Mapping[str, Any],
    expression: Mapping[str, Any],
    masks: Mapping[str, Sequence[Any]],
    frames: Path,
) -> Sample:
    size = (int(video['height']), int(video['width']))
    annotations = [_annotation(masks, each) for each in expression['anno_id']]
    return Sample(
        key=f'{name}/{number}',
        # For referring sentences too: `Reason_VOS_dataset` of the authors'
        # datasets/InstructSegDatasets.py has one prompt for all.
        task=SampleTask.VIDEO_REASONING,
        frames=tuple(ImageFile(frames / name / f'{frame}.jpg') for frame in video['frames']),
        targets=tuple(
            _target([annotation[index] for annotation in annotations], size)
            for index in range(len(video['frames']))
        ),
        instructions=(expression['exp'].strip().replace('(s)', ''),),
        verbatim=True,
        group=_GROUPS.get(int(expression['type_id']), ''),
        details={'video': name, 'names': tuple(video['frames'])},
    )


def _annotation(masks: Mapping[str, Sequence[Any]], number: Any) -> Sequence[Any]:
    if str(number) not in masks:
        raise ValueError(f'{_MASKS} has no annotation {number}')
    return masks[str(number)]


def _target(runs: Sequence[Mapping[str, Any] | None], size: tuple[int, int]) -> Target:
    parts = tuple(RunLengths.parse(each) for each in runs if each is not None)
    if any(part.size != size for part in parts):
        raise ValueError(f'{_MASKS} has masks that differ in size from the video ({size})')
    return Union(parts) if parts else EmptyMask(size)


def score_revos(truth: Path, predictions: Path, split: str | None = None) -> Figures:
    """Score masks of videos.

    The official evaluator computes A and R in uint8, where a predicted pixel is 255 and a true
    pixel is the number of annotations that cover it. Its A therefore counts only true negatives;
    its R counts every wrong pixel 255 times, and every right pixel in two annotations once. A
    sentence that it cannot score gets 0. `A corrected` and `R corrected` avoid these mistakes.

    Args:
        truth: Folder of the data set.
        predictions: Folder with `VIDEO/SENTENCE/FRAME.png` of values 0 and 255, directly or in
            `Annotations`.
        split: Split of the data set, by default `valid`.

    Returns:
        For `referring`, `reasoning` and `overall`: J, F, JF, and A and R, official and corrected,
        in percent. `expressions` has these figures for each sentence. `missing` lists predictions
        that do not exist. `problems` lists gaps in the data set (R is 0 if the foreground of a
        video is missing), and predictions that are damaged or of a wrong size. A missing, damaged
        or wrong prediction makes its whole sentence score 0.

    Raises:
        DataError: The data set cannot be read.
    """
    reading = read(truth, split or 'valid')
    foreground = read_table(truth / _FOREGROUND)
    inner = predictions / 'Annotations'
    folder = inner if inner.is_dir() else predictions
    expressions: dict[str, Row] = {}
    missing: list[str] = []
    problems = [str(problem) for problem in reading.problems]
    for sample in tqdm(reading.samples, 'scoring', disable=None):
        try:
            runs = list(foreground.get(sample.details['video'], {}).get('masks_rle', ()))
            if len(runs) < len(sample.frames):
                problems.append(f'{_FOREGROUND} lacks frames of {sample.details["video"]}')
            expressions[sample.key] = _score(sample, folder, runs)
        except FileNotFoundError as error:
            missing.append(str(error.filename))
            expressions[sample.key] = dict.fromkeys(_FIGURES, 0.0)
        except (OSError, ValueError) as error:
            problems.append(f'{sample.key} scores 0: {error}')
            expressions[sample.key] = dict.fromkeys(_FIGURES, 0.0)
    groups = {
        group: _mean(expressions[s.key] for s in reading.samples if s.group == group)
        for group in _GROUPS.values()
    }
    return {
        **groups,
        'overall': _mean(groups.values()),
        'expressions': {key: _with_mean(values) for key, values in expressions.items()},
        'missing': missing,
        'problems': list(dict.fromkeys(problems)),
    }


def _score(sample: Sample, folder: Path, runs: Sequence[Any]) -> Row:
    """Score one sentence, in percent, rounded as the official evaluator does.

    Args:
        sample: The sentence.
        folder: Folder of the predictions.
        runs: Run lengths of all objects together, for each frame.
    """
    rows = []
    for index, (name, target) in enumerate(
        zip(sample.details['names'], sample.targets, strict=True)
    ):
        assert target is not None
        true = _annotations(target)
        file = folder / sample.key / f'{name}.png'
        values = read_prediction(read_labels, file, true.shape)
        objects = RunLengths.parse(runs[index]).mask() if index < len(runs) else np.zeros(0)
        rows.append(_score_frame(values, true, int(objects.sum())))
    means = 100 * np.mean(rows, axis=0)
    return {name: round(float(value), 2) for name, value in zip(_FIGURES, means, strict=True)}


def _annotations(target: Target) -> np.ndarray:
    """Count the annotations of a sentence that cover each pixel: (H, W) uint8."""
    parts = target.parts if isinstance(target, Union) else (target,)
    return np.sum([part.mask() for part in parts], axis=0, dtype=np.uint8)


def _score_frame(values: np.ndarray, annotations: np.ndarray, foreground: int) -> list[float]:
    """Compute `_FIGURES` of a frame, 0 to 1.

    Args:
        values: (H, W) uint8 prediction; all values except 0 belong to the mask.
        annotations: (H, W) uint8, the number of annotations that cover each pixel.
        foreground: Number of pixels of all objects in the frame.
    """
    mask, true = values > 0, annotations > 0
    official = int(((np.uint8(1) - annotations) * values).sum())  # wraps where annotations overlap
    wrong = int((mask & ~true).sum())
    return [
        intersection_over_union(mask, true),
        boundary_accuracy(mask, true),
        float((values == annotations).mean()),
        max(0.0, 1 - official / (foreground + _EPSILON)),
        float((mask == true).mean()),
        max(0.0, 1 - wrong / (foreground + _EPSILON)),
    ]


def _mean(rows: Iterable[Row]) -> Row:
    """Average each figure; 0 without rows."""
    given = list(rows)
    if not given:
        return _with_mean(dict.fromkeys(_FIGURES, 0.0))
    return _with_mean({name: float(np.mean([each[name] for each in given])) for name in _FIGURES})


def _with_mean(values: Row) -> Row:
    return values | {'JF': (values['J'] + values['F']) / 2}


DATA_SETS: Final = (
    MaskBenchmark(
        name='revos',
        splits=('valid', 'train'),
        read=read,
        layout='meta_expressions_valid_.json, meta_expressions_train_.json\n'
        'mask_dict.json, mask_dict_foreground.json\n'
        'JPEGImages/VIDEO/*.jpg (or VIDEO/*.jpg)',
        procedure=Procedure.VIDEO,
        score=score_revos,
        zipped=True,
        percent=True,
        published={
            'referring.JF': {'valid': row(57.0, LMPM=34.1, TrackGPT_13B=49.5, VISA_13B=54.1)},
            'reasoning.JF': {'valid': row(51.9, LMPM=18.8, TrackGPT_13B=40.5, VISA_13B=40.9)},
            'overall.JF': {'valid': row(54.5, LMPM=26.4, TrackGPT_13B=45.0, VISA_13B=47.5)},
        },
    ),
)
