"""The published benchmarks and own data: how each is put to a model, scored and handed in."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from instructseg_ros.model.model_files import ModelError
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.data.reading import DataError, Reading, resolve_folder
from instructseg_ros.research.data.registry import data_set, is_synthetic
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.evaluation.mask_files import zip_submission
from instructseg_ros.research.evaluation.own_data import OWN_DATA, read_own
from instructseg_ros.research.evaluation.predictor import Predictor
from instructseg_ros.research.evaluation.processes import Processes
from instructseg_ros.research.evaluation.questions.answers import AnswerFile, read_answers
from instructseg_ros.research.evaluation.questions.registry import QUESTION_BENCHMARKS
from instructseg_ros.research.evaluation.run_metadata import NOTE, claim, forget_images, origin_of
from instructseg_ros.research.evaluation.scoring import score
from instructseg_ros.research.evaluation.work import (
    Unit,
    own_units,
    share,
    still_units,
    video_units,
)
from instructseg_ros.video.run_folder import locked

_UNITS: Final[dict[str, Callable[[Iterable[Sample]], Sequence[Unit]]]] = {
    'refcoco': partial(still_units, sentences=True),
    'refcoco+': partial(still_units, sentences=True),
    'refcocog': partial(still_units, sentences=True),
    'reasonseg': partial(still_units, sentences=False),
    'ref-youtube-vos': partial(video_units, merged=False),
    'ref-davis17': partial(video_units, merged=True),
    'revos': partial(video_units, merged=False),
    **dict.fromkeys(OWN_DATA, own_units),
}
_ZIPPED: Final = ('ref-youtube-vos', 'revos')
_SCORED_BY_A_SERVER: Final = ('ref-youtube-vos',)
NAMES: Final = (*_UNITS, *QUESTION_BENCHMARKS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a benchmark.

    Args:
        split: that was evaluated.
        figures: as its scorer gives them, with `skipped`: what could not be put to the model; in
            place of the scorer's `not scored`, the reason, where that left too little; and
            `synthetic`: whether `instructseg data make-sample` made the data.
        submission: the file or folder to be handed in; None where figures are all there is.
    """

    split: str
    figures: dict[str, Any]
    submission: Path | None


def evaluate(
    name: str,
    data: Path,
    load: Callable[[], Segmenter],
    output: Path,
    *,
    model: str,
    split: str | None = None,
    dtype: str = 'auto',
    processes: Processes,
) -> Outcome | None:
    """Put a benchmark to a model; what the output holds already is not done again.

    Args:
        name: one of `NAMES`.
        data: folder of the data set.
        load: loads the model, once data and output are found to be sound.
        output: for predictions and submission.
        model: name or folder of the model that is loaded.
        split: None: the data set's first; of own data `val`, or without one `train`.
        dtype: that the model was loaded with.
        processes: this one and those that do the rest.

    Raises:
        DataError: the data set cannot be read, or not one of its pictures.
        LockError: another evaluation or training writes to the output.
        NotADirectoryError: the output is a file.
        ValueError: there is no such split, or the output is of another one, model or dtype.

    Returns:
        the outcome in the first process, None in the others.
    """
    split, reading = _read(name, resolve_folder(data), split)
    if not reading.samples:
        found = f': {reading.problems[0]}' if reading.problems else ''
        raise DataError(f'{data} has no sample of {name} {split} that can be used{found}')
    answer = _answer_questions if name in QUESTION_BENCHMARKS else _predict_masks
    with locked(output) if processes.first else contextlib.nullcontext():
        origin = origin_of(name, data, split, reading.samples, model, dtype)
        claim(output / NOTE, origin, holds='predictions of', first=processes.first)
        skipped = processes.gather(answer(name, reading.samples, load(), output, processes))
        if not processes.first:
            return None
        forget_images(output / NOTE, [key for key, _ in skipped])
        reasons = [f'{key}: {reason}' for key, reason in skipped]
        return _outcome(name, data, split, reading, output, reasons)


def _outcome(
    name: str, data: Path, split: str, reading: Reading, output: Path, skipped: list[str]
) -> Outcome:
    """Score what was done; the first process does."""
    all_skipped = len(skipped) == len(reading.samples)
    # A video of own data is named as skipped though only some of its frames are.
    if all_skipped and name not in OWN_DATA:
        raise _nothing_done(name, skipped)
    try:
        figures, submission = _finish(name, data, split, reading, output)
    except (DataError, FileNotFoundError) as error:
        if all_skipped:
            raise _nothing_done(name, skipped) from error
        if not skipped:
            raise
        figures, submission = {'n': len(reading.samples), 'not scored': [str(error)]}, None
    problems = [*map(str, reading.problems), *figures.get('problems', ())]
    figures |= {'skipped': skipped, 'problems': list(dict.fromkeys(problems))}
    figures['synthetic'] = is_synthetic(data)
    return Outcome(split=split, figures=figures, submission=submission)


def _nothing_done(name: str, skipped: list[str]) -> DataError:
    return DataError(f'nothing of {name} could be put to the model, the first: {skipped[0]}')


def _read(name: str, data: Path, split: str | None) -> tuple[str, Reading]:
    if name in OWN_DATA:
        return read_own(name, data, split)
    chosen = data_set(name).known_split(split)
    return chosen, data_set(name).read(data, chosen)


def _predict_masks(
    name: str, samples: Sequence[Sample], segmenter: Segmenter, output: Path, processes: Processes
) -> list[tuple[str, str]]:
    """Write predictions; return the keys of samples that were skipped, and why."""
    predictor = Predictor(segmenter)
    units = share(_UNITS[name](samples), processes.rank, processes.count)
    skipped = []
    for unit in tqdm(units, name, disable=None if processes.first else True):
        try:
            unit.run(predictor, output / 'predictions')
        except (OSError, ValueError) as error:
            skipped += [(sample.key, str(error)) for sample in unit.samples]
    return skipped


def _answer_questions(
    name: str, samples: Sequence[Sample], segmenter: Segmenter, output: Path, processes: Processes
) -> list[tuple[str, str]]:
    """Write answers; return the keys of samples that were skipped, and why."""
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
            skipped.append((sample.key, str(error)))
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
