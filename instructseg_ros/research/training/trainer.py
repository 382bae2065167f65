"""The training loop: one process or many, on the engine that `accelerate` is configured for."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from instructseg_ros.research.training.batches import Mixture, Steps, batches
from instructseg_ros.research.training.examples import Batch, ExampleMaker
from instructseg_ros.research.training.recipe import Recipe
from instructseg_ros.research.training.training_model import LossOutput, TrainingModel
from instructseg_ros.research.training.validation import (
    FILE,
    Record,
    Validation,
    panel,
    read_record,
)

_KEPT: Final = 2  # checkpoints
_log = logging.getLogger(__name__)


class Trainer:
    """Trains a learner by a recipe, from the newest checkpoint in its folder on.

    Everything that is drawn depends on the seed and the step alone, so that a training that was
    killed goes on as if it had not been.

    Attributes:
        step: updates that were done.
        record: the newest and the best measurement on the validation samples, or None.
    """

    def __init__(
        self,
        recipe: Recipe,
        build: Callable[[], TrainingModel],
        mixture: Callable[[int], Mixture],
        maker: ExampleMaker,
        folder: Path,
        *,
        validation: Callable[[int], Mixture] | None = None,
        workers: int = 0,
    ) -> None:
        """Prepare the engine, and go on where a training in the folder stopped.

        Args:
            build: makes the learner, its resting weights chosen.
            mixture: makes the mixture for a number of samples in a step.
            folder: for `checkpoints`, `logs` and `validation.json`.
            validation: makes the mixture of the samples to measure on; None: nothing is measured.
            workers: processes that open pictures; 0: this one.
        """
        self.recipe = recipe
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision=recipe.precision,
            gradient_accumulation_steps=recipe.accumulation,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self._folder = folder
        self._workers = workers
        self._build = build
        self._writer: SummaryWriter | None = None  # in the first process
        self._noted: dict[str, list[torch.Tensor]] = defaultdict(list)  # since the last log
        self._skipped = 0
        self.mixture = mixture(recipe.batch * self.accelerator.num_processes)
        self._steps = Steps(
            self.mixture, maker, rank=self.accelerator.process_index, batch=recipe.batch
        )
        learner = build()
        threshold = learner.model.config.score_threshold
        self._validation = validation and self._validator(validation, maker, threshold)
        self._prepare(learner)
        self.step = self._saved_step = self._resume()
        self._saved_at = time.monotonic()
        self.record = self._read_record() if validation else None

    def run(self, until: int | None = None) -> None:
        """Train to the recipe's last step, or to an earlier one."""
        last = min(self.recipe.steps, until or self.recipe.steps)
        count = self.recipe.accumulation
        order = range(self.step * count, last * count)
        loader = iter(batches(self._steps, order, self._workers))
        self._learner.train()
        main = self.accelerator.is_main_process
        if main:
            self._writer = SummaryWriter(self._folder / 'logs', purge_step=self.step)
        self._validate()  # a training that was killed may have saved and not measured
        for _ in tqdm(range(self.step, last), initial=self.step, total=last, disable=not main):
            self._update([next(loader) for _ in range(count)])
            if self._save_is_due():
                self._save()
            self._validate()
        if self.step != self._saved_step:
            self._save()
        if self._writer is not None:
            self._writer.close()

    def learned(self) -> TrainingModel | None:
        """A learner with what was learned, on the CPU; None but in the first process.

        Its weights are those that were best on the validation samples, or without such samples the
        last ones.
        """
        if self.record is not None:
            self.accelerator.load_state(str(self._checkpoint(self.record.best.step)))
        state = self.accelerator.get_state_dict(self._learner)
        if not self.accelerator.is_main_process:
            return None
        learner = self._build()
        learner.load_state_dict(state)
        return learner.eval()

    def _prepare(self, learner: TrainingModel) -> None:
        recipe = self.recipe
        if recipe.gradient_checkpointing:
            learner.model.gradient_checkpointing_enable({'use_reentrant': False})
        plugin = self.accelerator.state.deepspeed_plugin
        if plugin is not None:
            plugin.deepspeed_config['train_micro_batch_size_per_gpu'] = recipe.batch
            plugin.deepspeed_config['gradient_clipping'] = recipe.clip  # DeepSpeed clips itself
        optimizer = torch.optim.AdamW(
            [each for each in learner.parameters() if each.requires_grad],
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )
        self._learner, self._optimizer = self.accelerator.prepare(learner, optimizer)

    def _update(self, passes: list[Batch]) -> None:
        """One update of the weights."""
        for group in self._optimizer.param_groups:
            group['lr'] = rate(self.recipe, self.step)
        for number, batch in enumerate(passes):
            place = self.step * len(passes) + number
            # Dropout differs from process to process, and is the same again after a resume.
            torch.manual_seed(hash((self.recipe.seed, place, self.accelerator.process_index)))
            with self.accelerator.accumulate(self._learner):
                lesson = self._learner(batch.to(self.accelerator.device))
                self.accelerator.backward(lesson.loss)
                if self.accelerator.sync_gradients and self.recipe.clip:
                    self.accelerator.clip_grad_norm_(self._learner.parameters(), self.recipe.clip)
                self._optimizer.step()
                self._optimizer.zero_grad()
            self._note(batch, lesson, self.mixture.sources[self.mixture.source_of(place)].name)
        if (self.step + 1) % self.recipe.log_every == 0:
            self._log()
        self.step += 1

    def _validator(
        self, mixture: Callable[[int], Mixture], maker: ExampleMaker, threshold: float
    ) -> Validation:
        processes = self.accelerator.num_processes
        samples = mixture(processes)
        wanted = math.ceil(self.recipe.validation_samples / processes)
        return Validation(
            Steps(samples, maker, rank=self.accelerator.process_index, batch=1),
            min(wanted, samples.batches_of(0)),
            threshold=threshold,
            workers=self._workers,
        )

    def _validate(self) -> None:
        """Measure where it is due, and keep the checkpoint of the best step."""
        done = self.record.newest.step if self.record else 0
        if self._validation is None or self.step <= done:
            return
        if self.step % self.recipe.validate_every and self.step < self.recipe.steps:
            return
        figures = self._validation.measure(self.accelerator, self._learner, self.step, self._report)
        best = self.record.best if self.record else None
        if figures.better_than(best):
            if self.step != self._saved_step:
                self._save()
            best = figures
        self._note_figures(Record(newest=figures, best=best or figures))

    def _note_figures(self, record: Record) -> None:
        self.record = record
        if self._writer is None:
            return
        record.write(self._folder / FILE)
        newest = record.newest
        self._writer.add_scalar('validation/gIoU', newest.gIoU, newest.step)
        self._writer.add_scalar('validation/loss', newest.loss, newest.step)
        tqdm.write(f'{newest}; the best is that of step {record.best.step}')

    def _report(self, problem: str) -> None:
        _log.warning('skipped %s', problem)

    def _note(self, batch: Batch, lesson: LossOutput, source: str) -> None:
        """Keep the figures of a pass for the log, and log its masks where they are due."""
        for problem in batch.skipped:
            self._report(problem)
        self._skipped += len(batch.skipped)
        self._noted['loss'].append(lesson.loss.detach())
        for name, value in {'loss': lesson.loss, **lesson.parts}.items():
            self._noted[f'{source}/{name}'].append(value.detach())
        # A few in a row, so that every source has its pictures.
        due = self.step % self.recipe.picture_every < self.mixture.period
        if due and lesson.masks is not None and self._writer is not None:
            self._writer.add_image(f'{source}/masks', panel(batch, lesson), self.step)

    def _log(self) -> None:
        """Log the means of all passes since the last log, over all processes."""
        means = {name: torch.stack(values).mean() for name, values in self._noted.items()}
        means = self.accelerator.reduce(means, 'mean')
        skipped = torch.tensor(self._skipped, device=self.accelerator.device)
        skipped = self.accelerator.reduce(skipped, 'sum')
        self._noted.clear()
        self._skipped = 0
        if self._writer is None:
            return
        for name, value in means.items():
            self._writer.add_scalar(name, float(value), self.step)
        self._writer.add_scalar('learning_rate', rate(self.recipe, self.step), self.step)
        self._writer.add_scalar('skipped', int(skipped), self.step)

    def _save(self) -> None:
        """Write a checkpoint; one that was begun and not ended has another name."""
        folder = self._checkpoint(self.step)
        partial = folder.with_suffix('.partial')
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
            for old in self._checkpoints()[:-_KEPT]:
                if self.record is None or old != self._checkpoint(self.record.best.step):
                    shutil.rmtree(old)
        if self._writer is not None:
            self._writer.flush()
        self.accelerator.wait_for_everyone()
        self._saved_step, self._saved_at = self.step, time.monotonic()

    def _save_is_due(self) -> bool:
        """Whether a checkpoint is due by steps or by minutes; the first process's clock decides."""
        late = time.monotonic() - self._saved_at > 60 * self.recipe.save_minutes
        if self.accelerator.num_processes > 1:
            flag = torch.tensor(late, dtype=torch.uint8, device=self.accelerator.device)
            late = bool(broadcast(flag))
        return late or self.step % self.recipe.save_every == 0

    def _resume(self) -> int:
        newest = self._checkpoints()[-1:]
        if not newest:
            return 0
        self.accelerator.load_state(str(newest[0]))
        return int(newest[0].name.removeprefix('step_'))

    def _read_record(self) -> Record | None:
        """The measurements so far; None where the best one's checkpoint was removed."""
        record = read_record(self._folder / FILE)
        there = record is not None and self._checkpoint(record.best.step).is_dir()
        return record if there else None

    def _checkpoint(self, step: int) -> Path:
        return self._folder / 'checkpoints' / f'step_{step:07}'

    def _checkpoints(self) -> list[Path]:
        """Whole ones, the newest last."""
        found = (self._folder / 'checkpoints').glob('step_*')
        return sorted(each for each in found if each.suffix != '.partial')


def rate(recipe: Recipe, step: int) -> float:
    """Learning rate of a step: a linear rise, then a cosine down to 0."""
    warm = recipe.warmup * recipe.steps
    if step < warm:
        return recipe.learning_rate * (step + 1) / math.ceil(warm)
    progress = (step - warm) / max(1.0, recipe.steps - warm)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
