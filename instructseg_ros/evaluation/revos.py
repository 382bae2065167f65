"""ReVOS' figures from prediction files, equal to those of its official evaluator (spec 7.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from instructseg_ros.data.reading import read_table
from instructseg_ros.data.revos import GROUPS, read
from instructseg_ros.data.sample import Sample
from instructseg_ros.data.targets import RunLengths
from instructseg_ros.evaluation.boundary import boundary_accuracy
from instructseg_ros.evaluation.files import folder_of, read_mask
from instructseg_ros.evaluation.metrics import intersection_over_union

_FOREGROUND: Final = 'mask_dict_foreground.json'
_EPSILON: Final = 1e-6
_OFFICIAL_VALUE: Final = 255  # of a predicted pixel, where a true one has 1
_FIGURES: Final = ('J', 'F', 'A', 'R', 'A corrected', 'R corrected')

Row = dict[str, float]


def score_revos(truth: Path, predictions: Path, *, split: str = 'valid') -> dict[str, Any]:
    """Score a folder of predictions.

    The official evaluator reads predictions as 0 and 255 and the truth as 0 and 1: its A counts
    only what is rightly left out, and its R every wrong pixel 255 times. Both ways are given.

    Args:
        truth: the data set.
        predictions: `VIDEO/SENTENCE/FRAME.png`, 0 and 255, or a folder with these in `Annotations`.

    Raises:
        DataError: the data set cannot be read.
        ValueError: a prediction is damaged, or has another size than its frame.

    Returns:
        for `referring`, `reasoning` and `overall` J, F, JF, A and R in percent, A and R also
        corrected; under `expressions` the same for each; under `missing` and `problems` what
        predictions and the data set lack: without the foreground of its video a sentence's R is 0.
    """
    reading = read(truth, split)
    foreground = read_table(truth / _FOREGROUND)
    folder = folder_of(predictions, 'Annotations')
    expressions: dict[str, Row] = {}
    missing: list[str] = []
    problems = [str(problem) for problem in reading.problems]
    for sample in tqdm(reading.samples, 'scoring', disable=None):
        try:
            runs = _runs(sample, foreground)
            if len(runs) < len(sample.frames):
                problems.append(f'{_FOREGROUND} lacks frames of {sample.details["video"]}')
            expressions[sample.key] = _score(sample, folder, runs)
        except FileNotFoundError as error:
            missing.append(str(error.filename))
            expressions[sample.key] = dict.fromkeys(_FIGURES, 0.0)
    groups = {
        group: _mean(expressions[s.key] for s in reading.samples if s.group == group)
        for group in GROUPS.values()
    }
    return {
        **groups,
        'overall': _mean(groups.values()),
        'expressions': {key: _with_mean(row) for key, row in expressions.items()},
        'missing': missing,
        'problems': list(dict.fromkeys(problems)),
    }


def _score(sample: Sample, folder: Path, runs: Sequence[Any]) -> Row:
    """Figures of one sentence, in percent, rounded as the official evaluator does."""
    rows = []
    for index, (name, target) in enumerate(
        zip(sample.details['names'], sample.targets, strict=True)
    ):
        assert target is not None
        true = target.mask()
        mask = read_mask(folder / sample.key / f'{name}.png', true.shape)
        things = RunLengths.parse(runs[index]).mask() if index < len(runs) else np.zeros(0)
        rows.append(_frame(mask, true, int(things.sum())))
    means = 100 * np.mean(rows, axis=0)
    return {name: round(float(value), 2) for name, value in zip(_FIGURES, means, strict=True)}


def _frame(mask: np.ndarray, true: np.ndarray, things: int) -> list[float]:
    """`_FIGURES` of a frame, 0 to 1; `things` counts the pixels of all of its things."""
    wrong = int((mask & ~true).sum())
    return [
        intersection_over_union(mask, true),
        boundary_accuracy(mask, true),
        float((~mask & ~true).mean()),
        max(0.0, 1 - _OFFICIAL_VALUE * wrong / (things + _EPSILON)),
        float((mask == true).mean()),
        max(0.0, 1 - wrong / (things + _EPSILON)),
    ]


def _mean(rows: Iterable[Row]) -> Row:
    """Mean of each figure; 0 where there is nothing."""
    given = list(rows)
    if not given:
        return _with_mean(dict.fromkeys(_FIGURES, 0.0))
    return _with_mean({name: float(np.mean([row[name] for row in given])) for name in _FIGURES})


def _with_mean(row: Row) -> Row:
    return row | {'JF': (row['J'] + row['F']) / 2}


def _runs(sample: Sample, foreground: Mapping[str, Any]) -> Sequence[Any]:
    """Run lengths of all things of a sample's video together, of each frame."""
    return list(foreground.get(sample.details['video'], {}).get('masks_rle', ()))
