"""The figures of a benchmark from prediction files, by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from instructseg_ros.research.data.registry import data_set
from instructseg_ros.research.evaluation.davis import score_davis
from instructseg_ros.research.evaluation.image_scores import score_reasonseg, score_refcoco
from instructseg_ros.research.evaluation.own_data import OWN_DATA, score_own
from instructseg_ros.research.evaluation.revos import score_revos


def score(
    benchmark: str, truth: Path, predictions: Path, *, split: str | None = None
) -> dict[str, Any]:
    """Score predictions.

    Args:
        benchmark: `refcoco`, `refcoco+`, `refcocog`, `reasonseg`, `revos`, `ref-davis17`, or of
            own data `folder`, `coco` or `bag`.
        truth: the data set's folder.
        predictions: their folder; see each benchmark's scorer for the names of the files.
        split: None: the data set's first; of own data `val`, or without one `train`.

    Raises:
        DataError, ValueError: see there.
    """
    if benchmark in OWN_DATA:
        return score_own(benchmark, truth, predictions, split=split)
    chosen = split or data_set(benchmark).splits[0]
    if benchmark == 'revos':
        return score_revos(truth, predictions, split=chosen)
    if benchmark == 'ref-davis17':
        return score_davis(truth, predictions, split=chosen)
    if benchmark == 'reasonseg':
        return score_reasonseg(truth, predictions, split=chosen)
    return score_refcoco(truth, predictions, name=benchmark, split=chosen)
