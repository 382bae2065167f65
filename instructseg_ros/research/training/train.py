"""Trains a model on data sets by a recipe, and writes the resulting model."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from instructseg_ros.model.checkpoints import load_head, load_model, quiet
from instructseg_ros.model.model_files import (
    HEAD,
    HEAD_FILE,
    ModelError,
    model_hash,
    write_manifest,
)
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.research.data.dataset import data_set
from instructseg_ros.research.data.reading import DataError, MissingError, resolve_folder
from instructseg_ros.research.data.sample import Sample, SampleTask
from instructseg_ros.research.evaluation.run_metadata import fingerprint
from instructseg_ros.research.training.batches import Mixture, Source, Steps, batches
from instructseg_ros.research.training.criterion import Criterion
from instructseg_ros.research.training.examples import Batch, ExampleMaker, form_of
from instructseg_ros.research.training.recipe import Recipe, SourceConfig
from instructseg_ros.research.training.trainer import (
    LossOutput,
    Trainer,
    claim_training,
    make_accelerator,
)
from instructseg_ros.research.training.training_model import (
    TrainingModel,
    choose_weights,
    merge_adapters,
)
from instructseg_ros.research.training.validation import (
    FILE,
    Record,
    Validation,
    panel,
    read_record,
)
from instructseg_ros.video.run_folder import first_process, locked

VALIDATION: Final = 'val'  # split
# Settings that may differ when a training resumes, as may all intervals (`..._every`).
_FREE: Final = ('steps', 'save_minutes', 'validation_samples', 'gradient_checkpointing')
_MAX_NAMED = 5  # problems of a data set
_log = logging.getLogger(__name__)

StepReport = Callable[[int, Record | None], None]


class RecipeTrainer(Trainer):
    """Trains a model by a recipe, and measures it on the validation samples.

    Attributes:
        record: The newest and the best measurement on the validation samples, or None.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: Path,
        processor: InstructSegProcessor,
        sources: Sequence[Source],
        folder: Path,
        *,
        validation: Source | None = None,
        workers: int = 0,
        report: StepReport | None = None,
    ) -> None:
        """Prepare the accelerator, and load the newest checkpoint in the folder.

        Args:
            model: Folder of the model to start from.
            sources: Samples to train on.
            folder: Folder of `checkpoints`, `logs` and `validation.json`.
            validation: Samples to measure on; None: nothing is measured.
            workers: Number of processes that load images; 0: this process.
            report: Receives the progress after every step.
        """
        accelerator = make_accelerator(recipe.precision, accumulation=recipe.accumulation)
        plugin = accelerator.state.deepspeed_plugin
        if plugin is not None:
            plugin.deepspeed_config['train_micro_batch_size_per_gpu'] = recipe.batch
            plugin.deepspeed_config['gradient_clipping'] = recipe.clip  # DeepSpeed clips them
        self.recipe = recipe
        self._model = model
        self._on_step = report
        rank, count = accelerator.process_index, accelerator.num_processes
        maker = ExampleMaker(processor, recipe.examples)
        self.mixture = _mixture(sources, recipe, recipe.batch * count)
        steps = Steps(self.mixture, maker, rank=rank, batch=recipe.batch)
        module = build_training_model(recipe, model)
        if recipe.gradient_checkpointing:
            module.model.gradient_checkpointing_enable({'use_reentrant': False})
        self._validation: Validation | None = None
        if validation is not None:
            samples = _mixture([validation], recipe, count)
            self._validation = Validation(
                Steps(samples, maker, rank=rank, batch=1),
                min(math.ceil(recipe.validation_samples / count), samples.batches_of(0)),
                threshold=module.model.config.score_threshold,
                workers=workers,
            )
        super().__init__(
            accelerator,
            module,
            recipe,
            lambda order: _on_device(batches(steps, order, workers), accelerator.device),
            folder,
            seed=recipe.seed,
            save_every=recipe.save_every,
            save_minutes=recipe.save_minutes,
            log_every=recipe.log_every,
        )
        self.record = self._read_record() if validation else None

    def trained_model(self) -> TrainingModel | None:
        """Return the trained model on the CPU; None in all processes but the first.

        Its weights are those that were best on the validation samples; without such samples, the
        last ones.
        """
        if self.record is not None:
            self.load(self.record.best.step)
        state = self.accelerator.get_state_dict(self.module)
        if not self.accelerator.is_main_process:
            return None
        model = build_training_model(self.recipe, self._model)
        model.load_state_dict(state)
        return model.eval()

    def observe(self, number: int, batch: tuple[Any, ...], output: LossOutput) -> None:
        """Record the figures of a forward pass, and log its masks if they are due."""
        examples: Batch = batch[0]
        for problem in examples.skipped:
            _report(problem)
        source = self.mixture.sources[self.mixture.source_of(number)].name
        skipped = torch.tensor(float(len(examples.skipped)), device=self.accelerator.device)
        self.note({'loss': output.loss, 'skipped': skipped, f'{source}/loss': output.loss})
        self.note({f'{source}/{name}': value for name, value in output.parts.items()})
        # Due for a few consecutive steps, so that every source gets its images.
        due = self.step % self.recipe.image_every < self.mixture.period
        if due and output.masks is not None and self.writer is not None:
            self.writer.add_image(f'{source}/masks', panel(examples, output), self.step)

    def after_step(self) -> None:
        """Measure if a measurement is due, and report the progress."""
        self._measure()
        if self._on_step is not None:
            self._on_step(self.step, self.record)

    def _measure(self) -> None:
        """Measure if a measurement is due, and keep the checkpoint of the best step."""
        done = self.record.newest.step if self.record else 0
        if self._validation is None or self.step <= done:
            return
        if self.step % self.recipe.validate_every and self.step < self.recipe.steps:
            return
        newest = self._validation.measure(self.accelerator, self.module, self.step, _report)
        best = self.record.best if self.record else None
        if newest.better_than(best):
            if self.step != self._saved_step:
                self.save()
            best = newest
        self.record = Record(newest=newest, best=best or newest)
        if self.writer is not None:
            self.record.write(self.folder / FILE)
            self.writer.add_scalar('validation/gIoU', newest.gIoU, newest.step)
            self.writer.add_scalar('validation/loss', newest.loss, newest.step)
            tqdm.write(f'{newest}; the best is that of step {self.record.best.step}')

    def kept_steps(self) -> set[int]:
        """Return the step of the best measurement, if there is one."""
        return {self.record.best.step} if self.record else set()

    def _read_record(self) -> Record | None:
        """Read the measurements so far; None if the best one's checkpoint was removed."""
        record = read_record(self.folder / FILE)
        there = record is not None and self._checkpoint(record.best.step).is_dir()
        return record if there else None


def train(
    recipe: Recipe,
    model: Path,
    folders: Mapping[str, Path],
    output: Path,
    *,
    workers: int = 0,
    until: int | None = None,
    report: StepReport | None = None,
) -> RecipeTrainer:
    """Train to the recipe's last step and write the model to `output/model`.

    With `val` splits to measure on, the model of the best measurement is written; otherwise, that
    of the last step.

    Args:
        model: Folder of the model to start from.
        folders: Folders of the recipe's data sets, by name.
        output: Folder of checkpoints, logs and the model; a training in it resumes.
        workers: Number of processes that load images; 0: this process.
        until: Stop at this earlier step, with a checkpoint but without writing a model.
        report: Receives the number of steps that are done and the measurements so far, after every
            step; None instead of measurements before the first one.

    Raises:
        DataError: A data set has no folder, nothing in it can be read, or the recipe does not use
            it.
        LockError: Another training writes to the output.
        NotADirectoryError: The output is a file.
        RecipeError: The recipe does not fit the model.
        ValueError: The output holds a training of another model, with other data or settings.
    """
    folders = {name: resolve_folder(folder) for name, folder in folders.items()}
    with locked(output, first=first_process()):
        sources = _read_sources(recipe, folders)
        if first_process():
            settings = dataclasses.asdict(recipe)
            origin = {
                'model': str(model.resolve()),
                'weights': model_hash(model),
                **{f'data {name}': str(folder) for name, folder in folders.items()},
                'samples': fingerprint(sample for source in sources for sample in source.samples),
                **{
                    name: value
                    for name, value in settings.items()
                    if name not in _FREE and not name.endswith('_every')
                },
            }
            claim_training(output, origin)
        validation = read_validation(recipe, folders) if recipe.validate_every else None
        processor = InstructSegProcessor.from_pretrained(model)
        trainer = RecipeTrainer(
            recipe,
            model,
            processor,
            sources,
            output,
            validation=validation,
            workers=workers,
            report=report,
        )
        trainer.run(until)
        if trainer.step == recipe.steps:
            trained = trainer.trained_model()
            if trained is not None:
                write_model(trained, processor, output / 'model')
        trainer.accelerator.end_training()  # without it, torch may abort the process at exit
        return trainer


def _mixture(sources: Sequence[Source], recipe: Recipe, batch: int) -> Mixture:
    form = functools.partial(form_of, config=recipe.examples)
    return Mixture(sources, form, batch=batch, seed=recipe.seed)


def _on_device(loader: Iterable[Batch], device: torch.device) -> Iterator[tuple[Batch]]:
    for batch in loader:
        yield (batch.to(device),)


def _report(problem: str) -> None:
    _log.warning('skipped %s', problem)


def _read_sources(recipe: Recipe, folders: Mapping[str, Path]) -> list[Source]:
    used = {name for source in recipe.sources for name in source.sets}
    if unused := folders.keys() - used:
        raise DataError(f'the recipe does not use {min(unused)}: name it in its `sources`')
    return [read_source(source, folders) for source in recipe.sources]


def build_training_model(recipe: Recipe, model: Path) -> TrainingModel:
    """Load a model with its losses, and choose the weights that a recipe trains."""
    weights, _ = load_model(model)
    training_model = TrainingModel(weights, Criterion(recipe.criterion), _head(model))
    torch.manual_seed(recipe.seed)  # adapters start with random weights
    choose_weights(training_model, recipe)
    return training_model


def read_source(config: SourceConfig, folders: Mapping[str, Path]) -> Source:
    """Read the data sets of a source, and report the entries that are left out.

    Raises:
        DataError: See `train`.
    """
    samples = []
    for name in config.sets:
        if name not in folders:
            raise DataError(f'the recipe uses {name}: name its folder with --data {name}=DIR')
        samples += _read_samples(name, folders[name], config.split)
    if not samples:
        raise DataError(f'{", ".join(config.sets)}: there is no sample to train on')
    return Source(
        name='+'.join(config.sets), share=config.share, samples=samples, per_video=config.per_video
    )


def read_validation(recipe: Recipe, folders: Mapping[str, Path]) -> Source | None:
    """Read the `val` splits of a recipe's data sets; None if no set has one.

    Sets whose `val` split is used for training are left out, and so are conversations, which have
    no masks.

    Raises:
        DataError: A split exists but is damaged.
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
    for problem in [*reading.problems[:_MAX_NAMED], *reading.warnings[:_MAX_NAMED]]:
        _log.warning('%s: %s', name, problem)
    if reading.problems:
        _log.warning('%s: %d entries are left out', name, len(reading.problems))
    return reading.samples


def write_model(trained: TrainingModel, processor: InstructSegProcessor, folder: Path) -> None:
    """Write a trained model in the layout of `from_pretrained`, with its adapters merged."""
    merge_adapters(trained.model.language_model)
    with quiet():
        trained.model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if trained.head is not None:
        save_file({HEAD: trained.head.weight.detach().contiguous()}, folder / HEAD_FILE)
    write_manifest(folder)


def _head(model: Path) -> nn.Linear | None:
    """Load the language model's output layer; None if the model has none."""
    try:
        weight = load_head(model)
    except ModelError:
        return None
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    head.weight = nn.Parameter(weight.float())
    return head
