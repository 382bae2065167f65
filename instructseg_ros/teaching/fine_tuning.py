"""Fine-tunes a model without noun finder on examples of objects, with the recipe `fine_tune`."""

from __future__ import annotations

import dataclasses
import gc
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from instructseg_ros.teaching.examples import FOLDER, Example, save_examples
from instructseg_ros.teaching.fine_tuning_data import write_data
from instructseg_ros.teaching.trainer import Progress

if TYPE_CHECKING:
    from instructseg_ros.research.training.recipe import Recipe
    from instructseg_ros.research.training.validation import Record

WORK: Final = '.teaching'  # in the output folder while a teaching is not finished
_DATA: Final = 'data'
_RUN: Final = 'run'
_MEASUREMENTS: Final = 10  # of a training; the best one decides which weights are kept
_LEARNING_RATE: Final = '1e-4'  # higher than the recipe's, because there are few steps
_log = logging.getLogger(__name__)


def fine_tune(
    model: Path,
    examples: Sequence[Example],
    output: Path,
    *,
    report: Callable[[Progress], None],
    steps: int = 900,
    workers: int = 2,
    composites: int = 10,
    scenes: int = 60,
    changes: Mapping[str, str] | None = None,
) -> Path:
    """Fine-tune a model on examples of objects; resume a training that was killed.

    The weights that are best on held-out pictures are kept. Ctrl-C ends the training early and
    keeps the best so far.

    Args:
        model: Folder of the model to start from; stays as it is.
        examples: All examples, those of earlier teachings included.
        output: Folder of the new model; may contain the unfinished work for the same examples.
        report: Receives the progress: the stages `pictures`, `training` and `interrupted`.
        steps: Steps of the training.
        workers: Number of processes that load images; 0: this process.
        composites: Composed pictures for each example, see `write_data`.
        scenes: Rendered scenes, see `write_data`.
        changes: Values that override those of the recipe `fine_tune`, see `load_recipe`.

    Returns:
        The output folder.

    Raises:
        KeyboardInterrupt: The training was interrupted before its first checkpoint.
        ModuleNotFoundError: The libraries for training are not installed.
        ValueError: The output holds the work of another teaching.
    """
    # Imported here: a robot may lack the libraries for training. Fails before any work is done.
    from instructseg_ros.research.training import train  # noqa: F401
    from instructseg_ros.research.training.recipe import load_recipe

    work = output.resolve() / WORK
    work.mkdir(parents=True, exist_ok=True)
    write_data(
        examples,
        work / _DATA,
        composites=composites,
        scenes=scenes,
        report=lambda done: report(Progress(stage='pictures', done=done)),
    )
    interval = max(1, steps // _MEASUREMENTS)
    settings = {
        'steps': str(steps),
        'learning_rate': _LEARNING_RATE,
        'validate_every': str(interval),
        'save_every': str(interval),
        **(changes or {}),
    }
    _train(load_recipe('fine_tune', settings), model, work, report, workers)
    _install(work, output, examples)
    return output


def _train(
    recipe: Recipe, model: Path, work: Path, report: Callable[[Progress], None], workers: int
) -> None:
    """Train, and write the best model; after an interruption, the best so far."""
    from instructseg_ros.research.training.train import train
    from instructseg_ros.research.training.trainer import saved_step

    data, run = {'folder': work / _DATA}, work / _RUN

    def report_step(step: int, record: Record | None) -> None:
        quality = None if record is None else record.best.gIoU
        report(Progress(stage='training', done=step / recipe.steps, iou=quality))

    try:
        train(recipe, model, data, run, workers=workers, report=report_step)
        return
    except KeyboardInterrupt:
        step = saved_step(run)
        if not step:
            _log.warning('interrupted before the first checkpoint: no model is written')
            raise
    # Outside of the handler: the traceback would keep the tensors of the interrupted training.
    gc.collect()
    report(Progress(stage='interrupted', done=1.0))
    train(dataclasses.replace(recipe, steps=step), model, data, run, workers=workers)


def _install(work: Path, output: Path, examples: Sequence[Example]) -> None:
    """Move the trained model and the examples to the output, and remove the unfinished work."""
    kept = work / FOLDER
    shutil.rmtree(kept, ignore_errors=True)
    save_examples(examples, kept)
    # Renamed, not copied: a model may have many gigabytes. A killed teaching may have moved some.
    shutil.rmtree(output / FOLDER, ignore_errors=True)
    for file in [kept, *sorted((work / _RUN / 'model').iterdir())]:
        file.rename(output / file.name)
    shutil.rmtree(work)
