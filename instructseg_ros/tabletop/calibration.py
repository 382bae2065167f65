"""Calibrates the scores of a model, and the thresholds on them, on tabletop scenes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from instructseg_ros.model.model_files import MANIFEST, write_manifest
from instructseg_ros.model.prediction import calibrated, log_odds
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.tabletop.benchmark import CALIBRATION_SEED, ScoredAnswer, run_scenes
from instructseg_ros.video.run_folder import write_json

_CANDIDATES: Final = np.linspace(0.01, 0.99, 99).round(2)
_RIGHT: Final = 0.5  # IoU above which a mask is right
_MAX_MISSED: Final = 0.025
_MAX_RELEASED: Final = 0.01
_NEWTON_STEPS: Final = 25
_UNFITTED: Final = (1.0, 0.0)
# A less likely answer is not worth a robot's move, even if it is the best one.
_MIN_FOUND: Final = 0.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """How the scores of a model become probabilities, and which of them count as found.

    Two thresholds (hysteresis) keep a found target from flickering.

    Attributes:
        scale: Factor of a score's log-odds.
        offset: Added to the scaled log-odds; the result are the log-odds of a right answer.
        found: Minimum probability of a target that counts as found.
        release: Probability below which a found target counts as lost.
    """

    scale: float = 1.0
    offset: float = 0.0
    found: float
    release: float

    def settings(self) -> dict[str, float]:
        """Return the values of the model's configuration."""
        return {
            'score_scale': self.scale,
            'score_offset': self.offset,
            'score_threshold': self.found,
            'release_threshold': self.release,
        }

    def write(self, folder: Path) -> Path:
        """Store the calibration in a model folder and return the changed file."""
        file = folder / 'config.json'
        write_json(file, json.loads(file.read_text()) | self.settings())
        if (folder / MANIFEST).is_file():
            write_manifest(folder)
        return file


def calibrate_model(segmenter: Segmenter, *, scenes: int) -> Calibration:
    """Calibrate a model on scenes that only the calibration uses, half of the wordings held out.

    Raises:
        ValueError: There are so few scenes that all targets are present, or all are absent.
    """
    seeds = range(CALIBRATION_SEED, CALIBRATION_SEED + scenes)
    segmenter.postprocessor.calibration = _UNFITTED
    answers = run_scenes(segmenter, seeds) + run_scenes(segmenter, seeds, held_out=True)
    return calibrate(answers)


def calibrate(answers: Sequence[ScoredAnswer]) -> Calibration:
    """Calibrate a model by its answers, whose scores are not calibrated yet.

    `found` rejects as many absent targets as possible while it misses at most 2.5 % of the right
    masks: a robot must not grasp something else, but a missed target can be requested again, and
    a wrong mask is not missed. It is at least 0.3 if the scores are probabilities.
    `release` is the highest threshold that misses at most 1 % of the right masks, limited to the
    range from half of `found` to `found`. If no mask is right, all those of present targets count.

    Raises:
        ValueError: All targets are present, or all are absent.
    """
    scale, offset = _fit([answer for answer in answers if not answer.empty])
    there = [answer for answer in answers if answer.present]
    wanted = [answer for answer in there if answer.iou > _RIGHT] or there
    present = calibrated(_scores(wanted), scale, offset)
    absent = calibrated(_scores([one for one in answers if not one.present]), scale, offset)
    if not len(present) or not len(absent):
        raise ValueError('calibration needs both present and absent targets')
    missed = (present[:, None] < _CANDIDATES).mean(axis=0)
    right = (absent[:, None] < _CANDIDATES).mean(axis=0)
    honest = np.where(missed <= _MAX_MISSED, right, -missed)
    found = float(_CANDIDATES[honest.argmax()])
    if (scale, offset) != _UNFITTED:
        found = max(found, _MIN_FOUND)
    kept = _CANDIDATES[missed <= _MAX_RELEASED].max(initial=0.0)
    release = float(np.clip(kept, found / 2, found))
    return Calibration(scale=scale, offset=offset, found=found, release=release)


def _fit(answers: Sequence[ScoredAnswer]) -> tuple[float, float]:
    """Fit scale and offset by logistic regression (Platt 1999), with Newton's method.

    Returns:
        1 and 0 if the answers are all right or all wrong, or if higher scores are no better.
    """
    right = np.array([answer.present and answer.iou > _RIGHT for answer in answers], float)
    x = np.stack([log_odds(np.array([answer.score for answer in answers])), np.ones(len(right))])
    weights = np.array([1.0, 0.0])
    if len(set(right)) < 2:
        return _UNFITTED
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-weights @ x))
        curvature = (x * (p * (1 - p))) @ x.T + 1e-6 * np.eye(2)
        weights = weights + np.linalg.solve(curvature, x @ (right - p))
    scale, offset = (float(round(value, 4)) for value in weights)
    return (scale, offset) if scale > 0 else _UNFITTED


def _scores(answers: Sequence[ScoredAnswer]) -> np.ndarray:
    return np.array([0.0 if answer.empty else answer.score for answer in answers])
