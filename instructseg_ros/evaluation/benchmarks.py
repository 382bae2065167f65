"""The published benchmarks: how each is put to a model, scored and handed in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from instructseg_ros.data.reading import DataError, Reading
from instructseg_ros.data.registry import data_set
from instructseg_ros.data.sample import Sample
from instructseg_ros.evaluation.origin import claim, origin_of
from instructseg_ros.evaluation.predictor import Predictor
from instructseg_ros.evaluation.processes import Processes
from instructseg_ros.evaluation.questions.answers import AnswerFile, read_answers
from instructseg_ros.evaluation.questions.registry import QUESTION_BENCHMARKS
from instructseg_ros.evaluation.scoring import score
from instructseg_ros.evaluation.video_files import zip_submission
from instructseg_ros.evaluation.work import Unit, share, still_units, video_units
from instructseg_ros.model.checkpoints import ModelError
from instructseg_ros.model.segmenter import Segmenter

_UNITS: Final[dict[str, Callable[[Iterable[Sample]], Sequence[Unit]]]] = {
    'refcoco': partial(still_units, sentences=True),
    'refcoco+': partial(still_units, sentences=True),
    'refcocog': partial(still_units, sentences=True),
    'reasonseg': partial(still_units, sentences=False),
    'ref-youtube-vos': partial(video_units, merged=False),
    'ref-davis17': partial(video_units, merged=True),
    'revos': partial(video_units, merged=False),
}
_ZIPPED: Final = ('ref-youtube-vos', 'revos')
_SCORED_BY_A_SERVER: Final = ('ref-youtube-vos',)
NAMES: Final = (*_UNITS, *QUESTION_BENCHMARKS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a benchmark.

    Args:
        figures: as its scorer gives them, with `skipped`: what could not be put to the model; and
            in place of the scorer's `not scored`, the reason, where that left too little.
        submission: the file or folder to be handed in; None where figures are all there is.
    """

    figures: dict[str, Any]
    submission: Path | None


def evaluate(
    name: str,
    data: Path,
    segmenter: Segmenter,
    output: Path,
    *,
    split: str | None = None,
    dtype: str = 'auto',
    processes: Processes,
) -> Outcome | None:
    """Put a benchmark to a model; what the output holds already is not done again.

    Args:
        name: one of `NAMES`.
        data: folder of the data set.
        output: for predictions and submission.
        split: None: the data set's first.
        dtype: that the model was loaded with.
        processes: this one and those that do the rest.

    Raises:
        DataError: the data set cannot be read, or not one of its pictures.
        ValueError: there is no such split, or the output is of another one, model or dtype.

    Returns:
        the outcome in the first process, None in the others.
    """
    split = data_set(name).known_split(split)
    reading = data_set(name).read(data, split)
    claim(output, origin_of(name, data, split, segmenter.name, dtype), first=processes.first)
    answer = _answer_questions if name in QUESTION_BENCHMARKS else _predict_masks
    skipped = processes.gather(answer(name, reading.samples, segmenter, output, processes))
    if not processes.first:
        return None
    if skipped and len(skipped) == len(reading.samples):
        raise DataError(f'nothing of {name} could be put to the model, the first: {skipped[0]}')
    try:
        figures, submission = _finish(name, data, split, reading, output)
    except (DataError, FileNotFoundError) as error:
        if not skipped:
            raise
        figures, submission = {'n': len(reading.samples), 'not scored': [str(error)]}, None
    problems = [*map(str, reading.problems), *figures.get('problems', ())]
    figures |= {'skipped': skipped, 'problems': list(dict.fromkeys(problems))}
    return Outcome(figures=figures, submission=submission)


def _predict_masks(
    name: str,
    samples: Sequence[Sample],
    segmenter: Segmenter,
    output: Path,
    processes: Processes,
) -> list[str]:
    """Write predictions; return what could not be predicted, and why."""
    predictor = Predictor(segmenter)
    units = share(_UNITS[name](samples), processes.rank, processes.count)
    skipped = []
    for unit in tqdm(units, name, disable=None if processes.first else True):
        try:
            unit.run(predictor, output / 'predictions')
        except (OSError, ValueError) as error:
            skipped += [f'{sample.key}: {error}' for sample in unit.samples]
    return skipped


def _answer_questions(
    name: str,
    samples: Sequence[Sample],
    segmenter: Segmenter,
    output: Path,
    processes: Processes,
) -> list[str]:
    """Write answers; return which questions have none, and why."""
    done = read_answers(output)
    answers = AnswerFile(output / f'answers_{processes.rank}.jsonl', segmenter.name)
    mine = samples[processes.rank :: processes.count]
    skipped = []
    for sample in tqdm(mine, name, disable=None if processes.first else True):
        if sample.key in done:
            continue
        try:
            image = sample.frames[0].load()
            answers.add(sample, segmenter.generate(image, sample.turns[0].question))
        except ModelError:
            raise  # of no question, but of the model: it has no words
        except (OSError, ValueError) as error:
            skipped.append(f'{sample.key}: {error}')
    return skipped


def _finish(
    name: str, data: Path, split: str, reading: Reading, output: Path
) -> tuple[dict[str, Any], Path | None]:
    """Figures and submission."""
    if name in QUESTION_BENCHMARKS:
        benchmark = QUESTION_BENCHMARKS[name]
        answers = read_answers(output)
        submit = benchmark.submit
        submission = submit(reading.samples, answers, output) if submit else None
        return benchmark.score(reading.samples, answers), submission
    predictions = output / 'predictions'
    submission = predictions
    if name in _ZIPPED:
        submission = zip_submission(predictions / 'Annotations', output / f'{name}.zip')
    if name in _SCORED_BY_A_SERVER:
        return {'n': len(reading.samples)}, submission
    return score(name, data, predictions, split=split), submission
