"""Scores mask files: those of image benchmarks, and those of each sentence in a user's data."""

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
from instructseg_ros.research.evaluation.metrics import Overlap, mean
from instructseg_ros.streaming.image_files import read_mask


def joined_file(sample: Sample) -> str:
    """Return the prediction file's name for all sentences of a sample, joined."""
    return f'{sample.key}.png'


def sentence_file(sample: Sample, number: int, frame: int = 0) -> str:
    """Return the prediction file's name for one sentence of a sample and, in a video, one frame."""
    if not sample.task.is_video:
        return f'{sample.key}_{number}.png'
    return f'{sample.key}_{number}/{frame:05}.png'


def score_images(
    files: Sequence[tuple[Sample, str]],
    predictions: Path,
    problems: list[str],
    *,
    counted: Callable[[Target], np.ndarray | None] | None = None,
) -> Figures:
    """Score prediction files of images.

    Args:
        files: Samples with the names of their predictions.
        predictions: Folder of the predictions.
        problems: Receives a message for each damaged target, whose sample is left out.
        counted: Returns a (H, W) bool mask of pixels to count in `ignoring`; None: all pixels.

    Returns:
        cIoU, gIoU and precision; with `counted`, also `ignoring`, these figures over the pixels
        that count; and `missing`, the files that do not exist, which are scored as empty masks.

    Raises:
        ValueError: A prediction is damaged, or its size differs from its image's.
    """
    overlap, ignoring = Overlap(), Overlap()
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
        overlap.add(mask, truth)
        if counted:
            ignoring.add(mask, truth, counted(target))
    figures = {**overlap.figures(), 'missing': missing}
    return figures | {'ignoring': ignoring.figures()} if counted else figures


def score_sentences(name: str, truth: Path, predictions: Path, split: str | None = None) -> Figures:
    """Score predictions on a user's data, each sentence separately.

    Args:
        name: `folder`, `coco` or `bag`.
        truth: Folder of the data.
        predictions: Folder with `KEY_N.png` for sentence N (from 0) of an image sample, and
            `KEY_N/00000.png`, ... for the frames of a video sample. An empty mask and a missing
            file both mean that the target is absent.
        split: Split of the data; None: `val`, or `train` if there is no `val`.

    Returns:
        From 0 to 1: gIoU (mean over sentences of each one's mean IoU over frames), cIoU (over all
        pixels) and P@0.5 (share of sentences with an IoU above it). `n` is the number of sentences.
        `absent` has the share of frames without the target that rightly got an empty mask, and
        `present` the share of frames with the target that wrongly got one. `instructions` has IoU
        and n of each wording, `missing` the missing files, and `problems` the data left out.

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
            f'{predictions} has no prediction for {truth}, such as KEY_0.png or KEY_0/00000.png'
        )
    problems = [str(problem) for problem in reading.problems] + scores.problems
    return {**scores.figures(), 'missing': scores.missing, 'problems': problems}


class _SentenceScores:
    """Compares prediction files with their targets.

    Attributes:
        read: Number of prediction files that exist.
        missing: Names of missing prediction files.
        problems: Damaged targets, which are left out.
    """

    def __init__(self, predictions: Path) -> None:
        self.read = 0
        self.missing: list[str] = []
        self.problems: list[str] = []
        self._predictions = predictions
        self._overlap = Overlap(epsilon=0.0)
        self._sentences: list[tuple[str, float]] = []  # sentence, mean IoU over frames
        self._empty: dict[bool, list[bool]] = {True: [], False: []}  # present? -> mask empty?

    def add(self, sample: Sample) -> None:
        """Score the predictions for a sample."""
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
            'gIoU': mean(overlaps),
            'cIoU': self._overlap.cumulative,
            'P@0.5': mean([overlap > 0.5 for overlap in overlaps]),
            'n': len(overlaps),
            'absent': {'right': mean(absent), 'n': len(absent)} if absent else {'n': 0},
            'present': {'missed': mean(present), 'n': len(present)} if present else {'n': 0},
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
        sentence: {'IoU': mean(overlaps), 'n': len(overlaps)}
        for sentence, overlaps in grouped.items()
    }
