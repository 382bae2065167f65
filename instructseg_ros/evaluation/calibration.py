"""Thresholds of a model: from which score a target counts as found, and until which it stays so."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from instructseg_ros.evaluation.tabletop import Answer
from instructseg_ros.model.manifest import MANIFEST, write_manifest

_CANDIDATES: Final = np.linspace(0.01, 0.99, 99)
_MOST_MISSED: Final = 0.025
_MOST_RELEASED: Final = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Scores that decide between found and not found.

    Args:
        found: from which a target counts as found.
        release: below which one that was found counts as gone: lower, so that it does not flicker.
    """

    found: float
    release: float

    def write(self, folder: Path) -> Path:
        """Store them in a model's folder; return the file that was changed."""
        file = folder / 'config.json'
        config = json.loads(file.read_text())
        config |= {'score_threshold': self.found, 'release_threshold': self.release}
        changed = file.with_suffix('.new')
        changed.write_text(json.dumps(config, indent=2, sort_keys=True) + '\n')
        changed.replace(file)
        if (folder / MANIFEST).is_file():
            write_manifest(folder)
        return file


def calibrate(answers: Sequence[Answer]) -> Thresholds:
    """Choose the thresholds of a model from its answers.

    The first refuses most absent targets while it misses at most a fortieth of the others: what is
    not there must not be grasped, and what is missed can be asked for again. The second is the
    highest that misses at most a hundredth of the targets that are there, but at least half of
    the first, so that what has gone is let go.

    Raises:
        ValueError: there is no answer for a target that is there, or none for one that is not.
    """
    present = _scores(answers, present=True)
    absent = _scores(answers, present=False)
    if not len(present) or not len(absent):
        raise ValueError('calibration needs targets that are there and targets that are not')
    missed = (present[:, None] < _CANDIDATES).mean(axis=0)
    right = (absent[:, None] < _CANDIDATES).mean(axis=0)
    honest = np.where(missed <= _MOST_MISSED, right, -missed)
    found = float(_CANDIDATES[honest.argmax()])
    kept = _CANDIDATES[missed <= _MOST_RELEASED].max(initial=0.0)
    return Thresholds(found=found, release=float(np.clip(kept, found / 2, found)))


def _scores(answers: Sequence[Answer], *, present: bool) -> np.ndarray:
    return np.array([0.0 if a.empty else a.score for a in answers if a.present == present])
