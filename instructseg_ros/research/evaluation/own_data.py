"""Figures on a user's own data: what a robot would answer to each sentence on each frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from instructseg_ros.research.data.reading import DataError, MissingError, Reading
from instructseg_ros.research.data.registry import data_set
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.data.targets import Target
from instructseg_ros.research.evaluation.image_scores import sentence_file
from instructseg_ros.research.evaluation.mask_files import read_mask

OWN_DATA: Final = ('folder', 'coco', 'bag')
_HELD_OUT: Final = 'val'
_LEARNED: Final = 'train'


def read_own(name: str, folder: Path, split: str | None) -> tuple[str, Reading]:
    """Read a split of own data: by default `val` where it is there, otherwise `train`.

    Raises:
        DataError: there is no such split, or it cannot be read.
    """
    data = data_set(name)
    if split is not None:
        return data.known_split(split), data.read(folder, split)
    try:
        return _HELD_OUT, data.read(folder, _HELD_OUT)
    except MissingError:
        return _LEARNED, data.read(folder, _LEARNED)


def answer_file(sample: Sample, number: int, frame: int) -> str:
    """Name of the prediction for a sentence of a sample on a frame."""
    if not sample.kind.is_video:
        return sentence_file(sample, number)
    return f'{sample.key}_{number}/{frame:05}.png'


def score_own(name: str, truth: Path, predictions: Path, *, split: str | None) -> dict[str, Any]:
    """Score predictions on own data, every sentence of a sample by itself.

    Args:
        name: `folder`, `coco` or `bag`.
        truth: the data set.
        predictions: `KEY_N.png` for sentence N (from 0) of an image's sample, `KEY_N/00000.png`,
            ... for the frames of a video's. A mask without pixels says that the target is not
            there. Missing files count as such, and are named under `missing`.
        split: None: see `read_own`.

    Raises:
        DataError: the data set cannot be read, or there is no prediction.
        ValueError: a prediction is damaged, or has another size than its image.

    Returns:
        see `Scores.figures`; with `missing`, and under `problems` what of the data was left out.
    """
    _, reading = read_own(name, truth, split)
    scores = Scores(predictions)
    for sample in tqdm(reading.samples, 'scoring', disable=None):
        scores.add(sample)
    if not scores.read:
        raise DataError(
            f'{predictions} has no prediction, such as KEY_0.png or KEY_0/00000.png, of {truth}'
        )
    problems = [str(problem) for problem in reading.problems] + scores.problems
    return {**scores.figures(), 'missing': scores.missing, 'problems': problems}


class Scores:
    """Compares prediction files with their targets.

    Attributes:
        read: number of prediction files.
        missing: names of those that are not there.
        problems: targets that cannot be read; they are left out.
    """

    def __init__(self, predictions: Path) -> None:
        self.read = 0
        self.missing: list[str] = []
        self.problems: list[str] = []
        self._predictions = predictions
        self._shared = self._either = 0
        self._answers: list[tuple[str, list[float]]] = []  # sentence, IoU of each frame
        self._silent: dict[bool, list[bool]] = {True: [], False: []}  # by presence

    def add(self, sample: Sample) -> None:
        """Score the answers to a sample."""
        overlaps: list[list[float]] = [[] for _ in sample.instructions]
        for frame, target in enumerate(sample.targets):
            truth = self._truth(sample, frame, target)
            if truth is None:
                continue
            for number, of_sentence in enumerate(overlaps):
                of_sentence.append(self._overlap(answer_file(sample, number, frame), truth))
        self._answers += [
            answer for answer in zip(sample.instructions, overlaps, strict=True) if answer[1]
        ]

    def figures(self) -> dict[str, Any]:
        """Figures, 0 to 1.

        Returns:
            gIoU (mean over the sentences of all samples of their mean IoU over frames), cIoU (of
            all pixels together), P@0.5 (share of the sentences with a higher IoU) and n, their
            number. Under `absent` the share of the frames without the target that were answered
            "not there", under `present` the share of the others where it was missed. Under
            `instructions` IoU and n of each sentence, wherever it occurs.
        """
        means = [(sentence, float(np.mean(overlaps))) for sentence, overlaps in self._answers]
        overlaps = [overlap for _, overlap in means]
        absent, present = self._silent[False], self._silent[True]
        return {
            'gIoU': _mean(overlaps),
            'cIoU': self._shared / self._either if self._either else float(bool(overlaps)),
            'P@0.5': _mean([overlap > 0.5 for overlap in overlaps]),
            'n': len(overlaps),
            'absent': {'right': _mean(absent), 'n': len(absent)} if absent else {'n': 0},
            'present': {'missed': _mean(present), 'n': len(present)} if present else {'n': 0},
            'instructions': _by_sentence(means),
        }

    def _truth(self, sample: Sample, frame: int, target: Target | None) -> np.ndarray | None:
        try:
            return None if target is None else target.mask()
        except (OSError, ValueError) as error:
            self.problems.append(f'{sample.key} frame {frame}: {error}')
            return None

    def _overlap(self, file: str, truth: np.ndarray) -> float:
        try:
            mask = read_mask(self._predictions / file, truth.shape)
            self.read += 1
        except FileNotFoundError:
            self.missing.append(file)
            mask = np.zeros_like(truth)
        shared, either = int((mask & truth).sum()), int((mask | truth).sum())
        self._shared += shared
        self._either += either
        self._silent[bool(truth.any())].append(not mask.any())
        return shared / either if either else 1.0


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
