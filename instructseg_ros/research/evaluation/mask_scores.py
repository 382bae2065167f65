"""Scores of mask files: of image benchmarks, and of every sentence in a user's data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from instructseg_ros.research.data.dataset import Figures, data_set
from instructseg_ros.research.data.mask_files import read_prediction
from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.data.targets import Target
from instructseg_ros.research.evaluation.metrics import Overlap
from instructseg_ros.streaming.image_files import read_mask


def joined_file(sample: Sample) -> str:
    """Return the file name of the prediction for all sentences of an image as one instruction."""
    return f'{sample.key}.png'


def sentence_file(sample: Sample, number: int, frame: int = 0) -> str:
    """Return the file name of the prediction for one sentence of a sample; in videos, per frame."""
    if not sample.task.is_video:
        return f'{sample.key}_{number}.png'
    return f'{sample.key}_{number}/{frame:05}.png'


def score_images(
    files: Sequence[tuple[Sample, str]],
    predictions: Path,
    problems: list[str],
    *,
    counted: Callable[[Target], np.ndarray | None] = lambda _: None,
) -> Figures:
    """Score prediction files of images.

    Args:
        files: Samples with the names of their predictions.
        predictions: Folder of the predictions.
        problems: Receives the damaged targets; their samples are left out.
        counted: Returns the (H, W) bool pixels of a target that count; None: all.

    Returns:
        cIoU, gIoU and precision; under `missing` the files that do not exist, which count as empty
        masks.

    Raises:
        ValueError: A prediction is damaged, or its size differs from its image's.
    """
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
        try:
            mask = read_prediction(read_mask, predictions / file, truth.shape)
        except FileNotFoundError:
            missing.append(file)
            mask = np.zeros_like(truth)
        overlap.add(mask, truth, counted(target))
    return {**overlap.figures(), 'missing': missing}


def score_sentences(name: str, truth: Path, predictions: Path, split: str | None = None) -> Figures:
    """Score predictions on a user's data, each sentence separately.

    Args:
        name: `folder`, `coco` or `bag`.
        truth: Folder of the data.
        predictions: Folder with `KEY_N.png` for sentence N (from 0) of an image's sample, and
            `KEY_N/00000.png`, ... for the frames of a video's. A mask without pixels says that the
            target is absent, and so does a missing file.
        split: Split of the data; None: `val`, or `train` if there is no `val`.

    Returns:
        Shares 0 to 1: gIoU (mean over sentences of their mean IoU over frames), cIoU (over all
        pixels), P@0.5 (share of sentences with a higher IoU) and n, the number of sentences. Under
        `absent` the share of frames without the target whose result is NOT_FOUND, under
        `present` the share of the others that were missed; under `instructions` IoU and n of each
        wording; under `missing` the missing files, under `problems` the data left out.

    Raises:
        DataError: The data cannot be read, or there is no prediction.
        ValueError: A prediction is damaged, or its size differs from its image's.
    """
    _, reading = data_set(name).read_split(truth, split)
    scores = _SentenceScores(predictions)
    for sample in tqdm(reading.samples, 'scoring', disable=None):
        scores.add(sample)
    if not scores.read:
        raise DataError(
            f'{predictions} has no prediction, such as KEY_0.png or KEY_0/00000.png, of {truth}'
        )
    problems = [str(problem) for problem in reading.problems] + scores.problems
    return {**scores.figures(), 'missing': scores.missing, 'problems': problems}


class _SentenceScores:
    """Compares prediction files with their targets.

    Attributes:
        read: Number of prediction files.
        missing: Names of missing prediction files.
        problems: Damaged targets, which are left out.
    """

    def __init__(self, predictions: Path) -> None:
        self.read = 0
        self.missing: list[str] = []
        self.problems: list[str] = []
        self._predictions = predictions
        self._overlap = Overlap(epsilon=0.0)
        self._sentences: list[tuple[str, float]] = []  # with the mean IoU over frames
        self._empty: dict[bool, list[bool]] = {True: [], False: []}  # answers by presence

    def add(self, sample: Sample) -> None:
        """Score the answers to a sample."""
        overlaps: list[list[float]] = [[] for _ in sample.instructions]
        for frame, target in enumerate(sample.targets):
            try:
                truth = None if target is None else target.mask()
            except (OSError, ValueError) as error:
                self.problems.append(f'{sample.key} frame {frame}: {error}')
                continue
            if truth is not None:
                for number, values in enumerate(overlaps):
                    values.append(self._score(sentence_file(sample, number, frame), truth))
        self._sentences += [
            (sentence, float(np.mean(values)))
            for sentence, values in zip(sample.instructions, overlaps, strict=True)
            if values
        ]

    def figures(self) -> Figures:
        """Return the figures; see `score_sentences`."""
        overlaps = [overlap for _, overlap in self._sentences]
        absent, present = self._empty[False], self._empty[True]
        return {
            'gIoU': _mean(overlaps),
            'cIoU': self._overlap.cumulative,
            'P@0.5': _mean([overlap > 0.5 for overlap in overlaps]),
            'n': len(overlaps),
            'absent': {'right': _mean(absent), 'n': len(absent)} if absent else {'n': 0},
            'present': {'missed': _mean(present), 'n': len(present)} if present else {'n': 0},
            'instructions': _by_sentence(self._sentences),
        }

    def _score(self, file: str, truth: np.ndarray) -> float:
        try:
            mask = read_prediction(read_mask, self._predictions / file, truth.shape)
            self.read += 1
        except FileNotFoundError:
            self.missing.append(file)
            mask = np.zeros_like(truth)
        self._empty[bool(truth.any())].append(not mask.any())
        return self._overlap.add(mask, truth)


def _by_sentence(answers: Iterable[tuple[str, float]]) -> dict[str, dict[str, float]]:
    grouped: dict[str, list[float]] = defaultdict(list)
    for sentence, overlap in answers:
        grouped[sentence].append(overlap)
    return {
        sentence: {'IoU': _mean(overlaps), 'n': len(overlaps)}
        for sentence, overlaps in grouped.items()
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
