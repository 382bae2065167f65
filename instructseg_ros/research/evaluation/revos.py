"""ReVOS' figures from prediction files, equal to those of its official evaluator.

That is tools/eval_revos.py of VISA, which the authors of InstructSeg use unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from instructseg_ros.research.data.reading import read_table
from instructseg_ros.research.data.revos import GROUPS, read
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.data.targets import RunLengths, Target, Union
from instructseg_ros.research.evaluation.boundary import boundary_accuracy
from instructseg_ros.research.evaluation.mask_files import folder_of, read_labels
from instructseg_ros.research.evaluation.overlap import intersection_over_union

_FOREGROUND: Final = 'mask_dict_foreground.json'
_EPSILON: Final = 1e-6
_FIGURES: Final = ('J', 'F', 'A', 'R', 'A corrected', 'R corrected')

Row = dict[str, float]


def score_revos(truth: Path, predictions: Path, *, split: str = 'valid') -> dict[str, Any]:
    """Score a folder of predictions.

    The official evaluator computes A and R in uint8, where a predicted pixel has 255 and a true one
    the number of annotations that cover it: its A counts only what is rightly left out, and its R
    every wrong pixel 255 times, and a right one once where two annotations overlap. A sentence that
    it cannot score gets 0. Corrected A and R are reported as well.

    Args:
        truth: the data set.
        predictions: `VIDEO/SENTENCE/FRAME.png`, 0 and 255, or a folder with these in `Annotations`.

    Raises:
        DataError: the data set cannot be read.

    Returns:
        for `referring`, `reasoning` and `overall` J, F, JF, A and R in percent, A and R also
        corrected; under `expressions` the same for each; under `missing` the predictions that are
        not there; under `problems` those that are damaged or of a wrong size, all of which score 0
        with the rest of their sentence, and what the data set lacks: without the foreground of its
        video a sentence's R is 0.
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
        except (OSError, ValueError) as error:
            problems.append(f'{sample.key} scores 0: {error}')
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
        true = _annotations(target)
        values = read_labels(folder / sample.key / f'{name}.png', true.shape)
        things = RunLengths.parse(runs[index]).mask() if index < len(runs) else np.zeros(0)
        rows.append(_frame(values, true, int(things.sum())))
    means = 100 * np.mean(rows, axis=0)
    return {name: round(float(value), 2) for name, value in zip(_FIGURES, means, strict=True)}


def _annotations(target: Target) -> np.ndarray:
    """(H, W) uint8, how many annotations of a sentence cover each pixel."""
    parts = target.parts if isinstance(target, Union) else (target,)
    return np.sum([part.mask() for part in parts], axis=0, dtype=np.uint8)


def _frame(values: np.ndarray, annotations: np.ndarray, things: int) -> list[float]:
    """`_FIGURES` of a frame, 0 to 1.

    Args:
        values: (H, W) uint8 of the prediction; what is not 0 was found.
        annotations: (H, W) uint8, how many of them cover each pixel.
        things: pixels of all things of the frame.
    """
    mask, true = values > 0, annotations > 0
    official = int(((np.uint8(1) - annotations) * values).sum())  # wraps where annotations overlap
    wrong = int((mask & ~true).sum())
    return [
        intersection_over_union(mask, true),
        boundary_accuracy(mask, true),
        float((values == annotations).mean()),
        max(0.0, 1 - official / (things + _EPSILON)),
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
