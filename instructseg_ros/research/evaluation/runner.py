"""Runs a benchmark in one or several processes: computes missing predictions, and scores all."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from tqdm import tqdm

from instructseg_ros.model.model_files import ModelError
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.data.dataset import (
    Benchmark,
    Figures,
    MaskBenchmark,
    Procedure,
    QuestionBenchmark,
    data_set,
)
from instructseg_ros.research.data.mask_files import zip_submission
from instructseg_ros.research.data.reading import DataError, Reading, resolve_folder
from instructseg_ros.research.evaluation.predictor import Predictor
from instructseg_ros.research.evaluation.run_metadata import NOTE, claim, forget_images, origin_of
from instructseg_ros.research.evaluation.work_units import work_units
from instructseg_ros.research.published.questions import AnswerFile, read_answers
from instructseg_ros.video.run_folder import locked

T = TypeVar('T')

# The first process to finish waits for the last; torch's default of some minutes is too short.
_MAX_WAIT: Final = datetime.timedelta(days=7)

Skipped = list[tuple[str, str]]  # key of a sample, and why it was not predicted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of a benchmark.

    Args:
        benchmark: The benchmark.
        split: Split that was evaluated.
        figures: The scores or, if too little was predicted, `not scored` with the reason. They
            include `skipped` (samples that could not be predicted) and `problems` (of the data).
        submission: The submission file or, if there is none, the folder of predictions.
    """

    benchmark: Benchmark
    split: str
    figures: Figures
    submission: Path


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
    """Evaluate a model on a benchmark; predictions that are already in the output folder are kept.

    Args:
        name: Name of the benchmark.
        data: Folder of the data set.
        load: Loads the model; called after data and output have been checked.
        output: Folder for predictions and submission file.
        model: Name or folder of the model.
        split: Split to evaluate on. None: the data set's first one; for a user's data `val`, or
            `train` if there is no `val`.
        dtype: Number format that the model is loaded with.
        processes: All processes of this evaluation.

    Returns:
        The outcome in the first process, None in the others.

    Raises:
        DataError: The data set or all of its images cannot be read.
        LockError: Another evaluation or training writes to the output folder.
        NotADirectoryError: The output folder is a file.
        ValueError: There is no such split, or the output folder belongs to another run.
    """
    benchmark = find_benchmark(name)
    split, reading = benchmark.read_split(resolve_folder(data), split)
    if not reading.samples:
        found = f': {reading.problems[0]}' if reading.problems else ''
        raise DataError(f'{data} has no sample of {name} {split} that can be used{found}')
    predict = _predict_masks if isinstance(benchmark, MaskBenchmark) else _predict_answers
    with locked(output, first=processes.first):
        origin = origin_of(name, data, split, reading.samples, model, dtype)
        claim(output / NOTE, origin, holds='predictions of', first=processes.first)
        skipped = processes.gather(predict(benchmark, reading, load(), output, processes))
        if not processes.first:
            return None
        forget_images(output / NOTE, [key for key, _ in skipped])
        reasons = [f'{key}: {reason}' for key, reason in skipped]
        return _outcome(benchmark, data, split, reading, output, reasons)


def score(name: str, truth: Path, predictions: Path, split: str | None = None) -> Figures:
    """Score the prediction files of a mask benchmark.

    Args:
        name: Name of the benchmark.
        truth: Folder of the data set.
        predictions: Folder of the prediction files; see the benchmark's scorer for their names.
        split: See `evaluate`.

    Raises:
        DataError, ValueError: See the scorer of the benchmark.
    """
    benchmark = find_benchmark(name)
    if not isinstance(benchmark, MaskBenchmark) or benchmark.score is None:
        raise ValueError(f'{name} is not scored from prediction files')
    return benchmark.score(truth, predictions, split)


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark with this name.

    Raises:
        ValueError: There is no such benchmark.
    """
    found = data_set(name)
    if not isinstance(found, Benchmark):
        raise ValueError(f'{name} is only for training: no benchmark evaluates on it')
    return found


def _predict_masks(
    benchmark: Benchmark, reading: Reading, segmenter: Segmenter, output: Path, processes: Processes
) -> Skipped:
    """Write this process's share of the masks; return the samples that were skipped."""
    assert isinstance(benchmark, MaskBenchmark)
    predictor = Predictor(segmenter)
    units = work_units(benchmark.procedure, reading.samples)
    mine = units[processes.rank :: processes.count]
    skipped: Skipped = []
    for unit in tqdm(mine, benchmark.name, disable=None if processes.first else True):
        try:
            unit.run(predictor, output / 'predictions')
        except (OSError, ValueError) as error:
            skipped += [(sample.key, str(error)) for sample in unit.samples]
    return skipped


def _predict_answers(
    benchmark: Benchmark, reading: Reading, segmenter: Segmenter, output: Path, processes: Processes
) -> Skipped:
    """Write this process's share of the answers; return the samples that were skipped."""
    done = read_answers(output)
    answers = AnswerFile(output / f'answers_{processes.rank}.jsonl', segmenter.name)
    mine = reading.samples[processes.rank :: processes.count]
    skipped: Skipped = []
    for sample in tqdm(mine, benchmark.name, disable=None if processes.first else True):
        if sample.key in done:
            continue
        try:
            image = sample.frames[0].load()
            answers.add(sample, segmenter.generate(image, sample.turns[0].question))
        except ModelError:
            raise  # the model cannot generate text at all
        except (OSError, ValueError) as error:
            skipped.append((sample.key, str(error)))
    return skipped


def _outcome(
    benchmark: Benchmark, data: Path, split: str, reading: Reading, output: Path, skipped: list[str]
) -> Outcome:
    """Score the predictions."""
    all_skipped = len(skipped) == len(reading.samples)
    nothing = f'no sample of {benchmark.name} could be predicted; the first reason: '
    # With the robot procedure, a video counts as skipped if only one of its frames is.
    robot = isinstance(benchmark, MaskBenchmark) and benchmark.procedure is Procedure.ROBOT
    if all_skipped and not robot:
        raise DataError(nothing + skipped[0])
    try:
        figures, submission = _finish(benchmark, data, split, reading, output)
    except (DataError, FileNotFoundError) as error:
        if all_skipped:
            raise DataError(nothing + skipped[0]) from error
        if not skipped:
            raise
        figures, submission = {'n': len(reading.samples), 'not scored': [str(error)]}, output
    problems = [*map(str, reading.problems), *figures.get('problems', ())]
    figures |= {'skipped': skipped, 'problems': list(dict.fromkeys(problems))}
    return Outcome(benchmark=benchmark, split=split, figures=figures, submission=submission)


def _finish(
    benchmark: Benchmark, data: Path, split: str, reading: Reading, output: Path
) -> tuple[Figures, Path]:
    """Return figures and submission file."""
    if isinstance(benchmark, QuestionBenchmark):
        answers = read_answers(output)
        submission = output
        if benchmark.submit:
            submission = benchmark.submit(reading.samples, answers, output)
        return benchmark.score(reading.samples, answers), submission
    assert isinstance(benchmark, MaskBenchmark)
    predictions = output / 'predictions'
    submission = predictions
    if benchmark.zipped:
        submission = zip_submission(predictions / 'Annotations', output / f'{benchmark.name}.zip')
    if benchmark.score is None:
        return {'n': len(reading.samples)}, submission
    return benchmark.score(data, predictions, split), submission


@dataclasses.dataclass(frozen=True)
class Processes:
    """The number of this process, and of all processes that share an evaluation.

    Args:
        rank: Number of this process, from 0.
        count: Number of processes.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    @contextlib.contextmanager
    def joined(cls) -> Iterator[Processes]:
        """Join the other processes that a launcher started, and select this process's GPU.

        Load the model inside the context, and leave it before the process ends: torch may abort
        otherwise.

        Raises:
            RuntimeError: accelerate is not installed.
        """
        if int(os.environ.get('WORLD_SIZE', '1')) == 1:
            yield cls()
            return
        try:
            import torch
            from accelerate import PartialState
        except ImportError:
            raise RuntimeError(
                'several processes need accelerate: pip install "instructseg_ros[evaluation]"'
            ) from None
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=_MAX_WAIT)
        try:
            yield cls(state.process_index, state.num_processes)
        finally:
            state.destroy_process_group()

    @property
    def first(self) -> bool:
        """Return whether this is the process that scores and prints."""
        return self.rank == 0

    def gather(self, values: list[T]) -> list[T]:
        """Concatenate the values of all processes; waits for all of them."""
        if self.count == 1:
            return values
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object(values)
        return gathered
