"""Calibrates the score thresholds of a model on tabletop scenes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from instructseg_ros.model.model_files import MANIFEST, write_manifest
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.tabletop.benchmark import CALIBRATION_SEED, ScoredAnswer, run_scenes
from instructseg_ros.video.run_folder import write_json

_CANDIDATES: Final = np.linspace(0.01, 0.99, 99)
_MAX_MISSED: Final = 0.025
_MAX_RELEASED: Final = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Two score thresholds (hysteresis) that keep a found target from flickering.

    Attributes:
        found: Minimum score of a target that counts as found.
        release: Score below which a found target counts as lost.
    """

    found: float
    release: float

    def write(self, folder: Path) -> Path:
        """Store the thresholds in a model folder and return the changed file."""
        file = folder / 'config.json'
        config = json.loads(file.read_text())
        config |= {'score_threshold': self.found, 'release_threshold': self.release}
        write_json(file, config)
        if (folder / MANIFEST).is_file():
            write_manifest(folder)
        return file


def calibrate_model(segmenter: Segmenter, *, scenes: int) -> Thresholds:
    """Choose the thresholds of a model on scenes that only the calibration uses.

    Raises:
        ValueError: There are so few scenes that all targets are present, or all are absent.
    """
    return calibrate(run_scenes(segmenter, range(CALIBRATION_SEED, CALIBRATION_SEED + scenes)))


def calibrate(answers: Sequence[ScoredAnswer]) -> Thresholds:
    """Choose the thresholds of a model from its answers.

    `found` rejects as many absent targets as possible while it misses at most 2.5 % of the present
    ones: a robot must not grasp something else, but a missed target can be requested again.
    `release` is the highest threshold that misses at most 1 % of the present targets, limited to
    the range from half of `found` to `found`.

    Raises:
        ValueError: All targets are present, or all are absent.
    """
    present = _scores(answers, present=True)
    absent = _scores(answers, present=False)
    if not len(present) or not len(absent):
        raise ValueError('calibration needs both present and absent targets')
    missed = (present[:, None] < _CANDIDATES).mean(axis=0)
    right = (absent[:, None] < _CANDIDATES).mean(axis=0)
    honest = np.where(missed <= _MAX_MISSED, right, -missed)
    found = float(_CANDIDATES[honest.argmax()])
    kept = _CANDIDATES[missed <= _MAX_RELEASED].max(initial=0.0)
    return Thresholds(found=found, release=float(np.clip(kept, found / 2, found)))


def _scores(answers: Sequence[ScoredAnswer], *, present: bool) -> np.ndarray:
    return np.array([0.0 if a.empty else a.score for a in answers if a.present == present])
