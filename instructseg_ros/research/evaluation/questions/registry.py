"""How the answers of each benchmark are scored and handed in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.evaluation.questions.matching import (
    score_gqa,
    score_mmbench,
    score_pope,
    score_scienceqa,
)
from instructseg_ros.research.evaluation.questions.submissions import write_gqa, write_mmbench
from instructseg_ros.research.evaluation.questions.vqav2 import score_vqav2, write_vqav2

Answers = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class QuestionBenchmark:
    """A benchmark whose answers are words.

    Args:
        score: figures of answers by the key of their sample.
        submit: writes the file to be handed in; None: there is none.
    """

    score: Callable[[Sequence[Sample], Answers], dict[str, Any]]
    submit: Callable[[Sequence[Sample], Answers, Path], Path] | None = None


QUESTION_BENCHMARKS: Final = {
    'vqav2': QuestionBenchmark(score_vqav2, write_vqav2),
    'gqa': QuestionBenchmark(score_gqa, write_gqa),
    'mmbench': QuestionBenchmark(score_mmbench, write_mmbench),
    'pope': QuestionBenchmark(score_pope),
    'scienceqa': QuestionBenchmark(score_scienceqa),
}
