"""Figures of image benchmarks from prediction files (spec 7.1, 7.2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.data.reasonseg import PaintedPolygons
from instructseg_ros.research.data.reasonseg import read as read_reasonseg
from instructseg_ros.research.data.refcoco import read as read_refcoco
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.evaluation.mask_files import read_mask
from instructseg_ros.research.evaluation.overlap import Overlap


def joined_file(sample: Sample) -> str:
    """Name of the prediction for all sentences of a sample as one instruction."""
    return f'{sample.key}.png'


def sentence_file(sample: Sample, number: int) -> str:
    """Name of the prediction for one sentence of a sample."""
    return f'{sample.key}_{number}.png'


def score_refcoco(truth: Path, predictions: Path, *, name: str, split: str) -> dict[str, Any]:
    """Score RefCOCO's predictions in both protocols.

    Args:
        truth: the data set.
        predictions: `KEY.png` for all sentences of a thing as one instruction, as the authors
            evaluate; `KEY_0.png`, `KEY_1.png`, ... for each by itself, the standard protocol.
        name: `refcoco`, `refcoco+` or `refcocog`.

    Raises:
        DataError: the data set cannot be read, or there is no prediction.
        ValueError: a prediction is damaged, or has another size than its image.

    Returns:
        under `joined` and `per_sentence`, where there are files of it, cIoU, gIoU and precision;
        missing files count as empty masks and are named under `missing`. Entries whose target is
        damaged are left out and named under `problems`.
    """
    reading = read_refcoco(name, truth, split)
    protocols = {
        'joined': [(sample, joined_file(sample)) for sample in reading.samples],
        'per_sentence': [
            (sample, sentence_file(sample, number))
            for sample in reading.samples
            for number in range(len(sample.instructions))
        ],
    }
    there = {
        protocol: files
        for protocol, files in protocols.items()
        if any((predictions / file).is_file() for _, file in files)
    }
    if not there:
        raise DataError(f'{predictions} has no KEY.png and no KEY_0.png of {name} {split}')
    problems = [str(problem) for problem in reading.problems]
    scored: dict[str, Any] = {
        protocol: _score(files, predictions, problems) for protocol, files in there.items()
    }
    return scored | {'problems': list(dict.fromkeys(problems))}


def score_reasonseg(truth: Path, predictions: Path, *, split: str) -> dict[str, Any]:
    """Score ReasonSeg's predictions, `KEY.png`.

    Raises:
        DataError, ValueError: see `score_refcoco`.

    Returns:
        cIoU, gIoU and precision as the authors compute them, where what is to be ignored is no
        target; under `ignoring` those of other papers, where it does not count.
    """
    reading = read_reasonseg(truth, split)
    files = [(sample, joined_file(sample)) for sample in reading.samples]
    if not any((predictions / file).is_file() for _, file in files):
        raise DataError(f'{predictions} has no KEY.png of {split}')
    problems = [str(problem) for problem in reading.problems]
    figures = _score(files, predictions, problems)
    ignoring = _score(files, predictions, problems, ignore=True)
    return {**figures, 'ignoring': ignoring, 'problems': list(dict.fromkeys(problems))}


def _score(
    files: Sequence[tuple[Sample, str]],
    predictions: Path,
    problems: list[str],
    *,
    ignore: bool = False,
) -> dict[str, Any]:
    """Figures of prediction files; targets that are damaged are added to the problems."""
    overlap = Overlap()
    missing = []
    for sample, file in tqdm(files, 'scoring', disable=None):
        [target] = sample.targets
        assert target is not None
        try:
            truth = target.mask()
        except (OSError, ValueError) as error:
            problems.append(f'{sample.key}: {error}')
            continue
        counted = None
        if ignore and isinstance(target, PaintedPolygons):
            counted = ~target.ignored()
        try:
            mask = read_mask(predictions / file, truth.shape)
        except FileNotFoundError:
            missing.append(file)
            mask = np.zeros_like(truth)
        overlap.add(mask, truth, counted)
    return {**overlap.figures(), 'missing': missing}
