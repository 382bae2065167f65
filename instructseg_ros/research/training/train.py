"""Trains a model by a recipe on data sets in folders, and writes the model that comes of it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file
from torch import nn

from instructseg_ros.model.checkpoints import load_head, load_model, quiet
from instructseg_ros.model.model_files import (
    HEAD,
    HEAD_FILE,
    ModelError,
    model_hash,
    write_manifest,
)
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.research.data.reading import DataError, MissingError, resolve_folder
from instructseg_ros.research.data.registry import data_set
from instructseg_ros.research.data.sample import Sample, SampleTask
from instructseg_ros.research.evaluation.run_metadata import claim, fingerprint
from instructseg_ros.research.training.batches import Mixture, Source
from instructseg_ros.research.training.criterion import Criterion
from instructseg_ros.research.training.examples import ExampleMaker, form_of
from instructseg_ros.research.training.recipe import Recipe, SourceConfig
from instructseg_ros.research.training.trainer import Trainer
from instructseg_ros.research.training.training_model import (
    TrainingModel,
    choose_weights,
    merge_adapters,
)
from instructseg_ros.video.run_folder import first_process, locked

VALIDATION: Final = 'val'  # split
_NOTE: Final = 'training.json'
# Settings that a training may resume with another value of.
_FREE: Final = (
    'steps',
    'save_every',
    'save_minutes',
    'log_every',
    'picture_every',
    'validate_every',
    'validation_samples',
    'gradient_checkpointing',
)
_NAMED = 5  # problems of a data set
_log = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    model: Path,
    folders: Mapping[str, Path],
    output: Path,
    *,
    workers: int = 0,
    until: int | None = None,
) -> Trainer:
    """Train to the recipe's last step and write the model to `output/model`.

    Where the recipe measures on `val` splits, the model is that of the best measurement; otherwise
    it is that of the last step.

    Args:
        model: folder of the one to begin with.
        folders: of the recipe's data sets, by name.
        output: for checkpoints, logs and the model; a training that is there resumes.
        until: stop at an earlier step, with a checkpoint and without a model.

    Raises:
        DataError: a data set has no folder, nothing in it can be read, or the recipe has no use
            for it.
        LockError: another training writes to the output.
        NotADirectoryError: the output is a file.
        RecipeError: the recipe does not fit the model.
        ValueError: the output holds a training of another model, with other data or settings.
    """
    folders = {name: resolve_folder(folder) for name, folder in folders.items()}
    with locked(output) if first_process() else contextlib.nullcontext():
        return _train(recipe, model, folders, output, workers=workers, until=until)


def _train(
    recipe: Recipe,
    model: Path,
    folders: Mapping[str, Path],
    output: Path,
    *,
    workers: int,
    until: int | None,
) -> Trainer:
    sources = _read_sources(recipe, folders)
    if first_process():
        _claim(output, recipe, model, folders, sources)
    measured = read_validation(recipe, folders) if recipe.validate_every else None
    processor = InstructSegProcessor.from_pretrained(model)

    def mixture_of(sources: Sequence[Source]) -> Callable[[int], Mixture]:
        return lambda samples: Mixture(
            sources,
            lambda sample: form_of(sample, recipe.examples),
            batch=samples,
            seed=recipe.seed,
        )

    trainer = Trainer(
        recipe,
        lambda: build_learner(recipe, model),
        mixture_of(sources),
        ExampleMaker(processor, recipe.examples),
        output,
        validation=mixture_of([measured]) if measured else None,
        workers=workers,
    )
    trainer.run(until)
    if trainer.step == recipe.steps:
        learner = trainer.learned()
        if learner is not None:
            write_model(learner, processor, output / 'model')
    trainer.accelerator.end_training()  # torch may abort a process that ends without
    return trainer


def _claim(
    output: Path,
    recipe: Recipe,
    model: Path,
    folders: Mapping[str, Path],
    sources: Sequence[Source],
) -> None:
    """Make sure that checkpoints in the output are of this training."""
    note = output / _NOTE
    if not any((output / 'checkpoints').glob('step_*[0-9]')):
        note.unlink(missing_ok=True)  # nothing was learned yet: an attempt may begin otherwise
    settings = dataclasses.asdict(recipe)
    origin = {
        'model': str(model.resolve()),
        'weights': model_hash(model),
        **{f'data {name}': str(folder) for name, folder in folders.items()},
        'samples': fingerprint(sample for source in sources for sample in source.samples),
        **{name: value for name, value in settings.items() if name not in _FREE},
    }
    claim(note, origin, holds='a training with')


def _read_sources(recipe: Recipe, folders: Mapping[str, Path]) -> list[Source]:
    learnt_from = {name for source in recipe.sources for name in source.sets}
    if unused := folders.keys() - learnt_from:
        raise DataError(f'the recipe does not learn from {min(unused)}: name it in its `sources`')
    return [read_source(source, folders) for source in recipe.sources]


def build_learner(recipe: Recipe, model: Path) -> TrainingModel:
    """The model of a folder, ready to learn what a recipe says."""
    weights, _ = load_model(model)
    learner = TrainingModel(weights, Criterion(recipe.criterion), _head(model))
    torch.manual_seed(recipe.seed)  # adapters begin at random
    choose_weights(learner, recipe)
    return learner


def read_source(config: SourceConfig, folders: Mapping[str, Path]) -> Source:
    """Read a source's data sets, and say what in them is left out.

    Raises:
        DataError: see `train`.
    """
    samples = []
    for name in config.sets:
        if name not in folders:
            raise DataError(f'the recipe learns from {name}: say where it is, --data {name}=DIR')
        samples += _read_samples(name, folders[name], config.split)
    if not samples:
        raise DataError(f'{", ".join(config.sets)}: there is no sample to learn from')
    return Source(
        name='+'.join(config.sets), share=config.share, samples=samples, per_video=config.per_video
    )


def read_validation(recipe: Recipe, folders: Mapping[str, Path]) -> Source | None:
    """Read the `val` splits of a recipe's data sets; None where no set has one.

    A set is left out whose `val` split is learned from, and conversations are: no mask answers
    them.

    Raises:
        DataError: a split is there and damaged.
    """
    samples: list[Sample] = []
    for config in recipe.sources:
        for name in config.sets:
            if VALIDATION in data_set(name).splits and config.split != VALIDATION:
                with contextlib.suppress(MissingError):
                    samples += _read_samples(name, folders[name], VALIDATION)
    samples = [sample for sample in samples if sample.task is not SampleTask.CONVERSATION]
    if not samples:
        _log.warning('there is no val split: nothing is measured, and the last model is kept')
        return None
    return Source(name=VALIDATION, share=1, samples=samples)


def _read_samples(name: str, folder: Path, split: str) -> list[Sample]:
    data = data_set(name)
    reading = data.read(folder, data.known_split(split))
    for problem in [*reading.problems[:_NAMED], *reading.warnings[:_NAMED]]:
        _log.warning('%s: %s', name, problem)
    if reading.problems:
        _log.warning('%s: %d entries are left out', name, len(reading.problems))
    return reading.samples


def write_model(learner: TrainingModel, processor: InstructSegProcessor, folder: Path) -> None:
    """Write what was learned in the layout of `from_pretrained`, adapters merged."""
    merge_adapters(learner.model.language_model)
    with quiet():
        learner.model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if learner.head is not None:
        save_file({HEAD: learner.head.weight.detach().contiguous()}, folder / HEAD_FILE)
    write_manifest(folder)


def _head(model: Path) -> nn.Linear | None:
    try:
        weight = load_head(model)
    except ModelError:
        return None
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    head.weight = nn.Parameter(weight.float())
    return head
