"""The training loop, for one process or many, with the backend configured in `accelerate`."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import DistributedType, broadcast
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from instructseg_ros.model.precision import computes_bfloat16
from instructseg_ros.research.evaluation.run_metadata import claim
from instructseg_ros.research.training.recipe import Schedule

# Returns the arguments of the module for each forward pass in a range of pass numbers.
BatchesOf = Callable[[range], Iterable[tuple[Any, ...]]]

_NOTE: Final = 'training.json'
_STATE: Final = 'state.safetensors'
_KEPT: Final = 2  # checkpoints
# Backends that keep a full copy of the weights and of the optimiser's state in every process.
_REPLICATED: Final = ('NO', 'MULTI_CPU', 'MULTI_GPU')


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOutput:
    """Losses of one batch.

    Args:
        loss: Total loss, to be minimised.
        parts: Figures for the log by name, such as unweighted losses.
        masks: (B, Q, h, w) final mask logits of images; None for conversations.
        scores: (B, Q) final score logits.
    """

    loss: torch.Tensor
    parts: Mapping[str, torch.Tensor]
    masks: torch.Tensor | None = None
    scores: torch.Tensor | None = None


class FrozenStatistics(nn.Module):
    """Base of modules whose batch norms keep their statistics, because batches are too small."""

    def train(self, mode: bool = True) -> FrozenStatistics:
        """Set the mode of everything except batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def make_accelerator(
    precision: str, *, accumulation: int = 1, cpu: bool | None = None
) -> Accelerator:
    """Create the accelerator of a training.

    Args:
        precision: `no`, `bf16` or `fp16`; `bf16` falls back to float32 on hardware that does not
            compute in it.
        accumulation: Forward passes for one update of the weights.
        cpu: Whether to train on the CPU; None: only without a GPU.
    """
    cpu = not torch.cuda.is_available() if cpu is None else cpu
    if precision == 'bf16' and not computes_bfloat16(torch.device('cpu' if cpu else 'cuda')):
        precision = 'no'
    return Accelerator(
        cpu=cpu,
        mixed_precision=precision,
        gradient_accumulation_steps=accumulation,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


class Trainer:
    """Trains a module, starting at the newest checkpoint in its folder.

    Batches and torch's random numbers depend on the seed and the step alone, so an interrupted
    training ends with the same weights as an uninterrupted one.

    Attributes:
        accelerator: The accelerator of the training.
        folder: Folder of `checkpoints` and `logs`.
        module: The module as wrapped by the accelerator.
        step: Number of updates done.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        module: nn.Module,
        schedule: Schedule,
        batches: BatchesOf,
        folder: Path,
        *,
        seed: int,
        averaging: float = 0.0,
        save_every: int = 0,
        save_minutes: float = 2.0,
        log_every: int = 100,
    ) -> None:
        """Prepare the accelerator and load the newest checkpoint.

        Args:
            module: Returns a `LossOutput`; the parameters that require gradients are trained.
            batches: Returns the arguments of the module for each forward pass.
            seed: Seed of torch's random numbers.
            averaging: Decay of the moving average of the weights; 0 disables it.
            save_every: Steps between checkpoints; 0: only `save_minutes` counts.
            save_minutes: Longest time between checkpoints.
            log_every: Steps between entries in the log.
        """
        self.accelerator = accelerator
        self.folder = folder
        self.schedule = schedule
        self._batches = batches
        self._seed = seed
        self._averaging = averaging
        self._save_every = save_every
        self._save_minutes = save_minutes
        self._log_every = log_every
        self._noted: dict[str, list[torch.Tensor]] = defaultdict(list)  # since the last log entry
        self.writer: SummaryWriter | None = None  # in the first process, while it runs
        self._trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(
            self._trained.values(),
            lr=schedule.learning_rate,
            betas=(0.9, schedule.beta2),
            weight_decay=schedule.weight_decay,
        )
        self.module, self._optimizer = accelerator.prepare(module, optimizer)
        kept = self._trained if averaging else {}
        self._average = {name: parameter.detach().clone() for name, parameter in kept.items()}
        self.step = self._saved_step = saved_step(folder)
        self._saved_at = time.monotonic()
        if self.step:
            self.load(self.step)

    def run(self, until: int | None = None) -> None:
        """Train to the schedule's last step or to an earlier one, then save a checkpoint."""
        last = min(self.schedule.steps, until or self.schedule.steps)
        passes = self.accelerator.gradient_accumulation_steps
        batches = iter(self._batches(range(self.step * passes, last * passes)))
        self.module.train()
        main = self.accelerator.is_main_process
        if main:
            self.writer = SummaryWriter(self.folder / 'logs', purge_step=self.step)
        self.after_step()  # an interrupted training may have saved this step but not finished it
        self._progress = tqdm(
            range(self.step, last), self.folder.name, last, initial=self.step, disable=not main
        )
        for _ in self._progress:
            self._update([next(batches) for _ in range(passes)])
            if self._save_is_due():
                self.save()
            self.after_step()
        if self.step != self._saved_step:
            self.save()
        if self.writer is not None:
            self.writer.close()

    def observe(self, number: int, batch: tuple[Any, ...], output: LossOutput) -> None:
        """Record the figures of forward pass `number` for the log."""
        self.note({'loss': output.loss, **output.parts})

    def after_step(self) -> None:
        """Hook for subclasses: called after every step, and once before the first."""

    def kept_steps(self) -> set[int]:
        """Return the steps whose checkpoints are kept in addition to the newest ones."""
        return set()

    def note(self, values: Mapping[str, torch.Tensor]) -> None:
        """Record figures; the next log entry shows their means."""
        for name, value in values.items():
            self._noted[name].append(value.detach())

    def finish(self) -> nn.Module:
        """Release the accelerator; return the module in evaluation mode, with averaged weights."""
        module: nn.Module = self.accelerator.unwrap_model(self.module, keep_fp32_wrapper=False)
        with torch.no_grad():
            for name, average in self._average.items():
                self._trained[name].copy_(average)
        self.module = module
        self.accelerator.free_memory()
        return module.eval()

    def save(self) -> None:
        """Write a checkpoint atomically, and remove old ones."""
        folder = self._checkpoint(self.step)
        partial = folder.with_suffix('.partial')
        if not self._is_replicated:
            self.accelerator.save_state(str(partial))
        elif self.accelerator.is_main_process:
            partial.mkdir(parents=True, exist_ok=True)
            scaler = self.accelerator.scaler
            save_file(
                self._state(),
                partial / _STATE,
                {'scaler': json.dumps(scaler.state_dict())} if scaler else None,
            )
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
            kept = {self._checkpoint(step) for step in self.kept_steps()}
            for old in checkpoints(self.folder)[:-_KEPT]:
                if old not in kept:
                    shutil.rmtree(old)
        if self.writer is not None:
            self.writer.flush()
        self.accelerator.wait_for_everyone()
        self._saved_step, self._saved_at = self.step, time.monotonic()

    def load(self, step: int) -> None:
        """Load the checkpoint of a step."""
        folder = self._checkpoint(step)
        if not self._is_replicated:
            self.accelerator.load_state(str(folder))
            return
        state = load_file(folder / _STATE)
        module = self.accelerator.unwrap_model(self.module)
        module.load_state_dict(_part(state, 'module.'), strict=False)  # frozen weights are absent
        for name, value in _part(state, 'average.').items():
            self._average[name].copy_(value)
        optimizer = self._optimizer.state_dict()
        optimizer['state'] = {
            index: values
            for index, name in enumerate(self._trained)
            if (values := _part(state, f'optimizer.{name}.'))
        }
        self._optimizer.load_state_dict(optimizer)
        if self.accelerator.scaler:
            with safe_open(folder / _STATE, 'pt') as opened:
                self.accelerator.scaler.load_state_dict(json.loads(opened.metadata()['scaler']))

    @property
    def _is_replicated(self) -> bool:
        return DistributedType(self.accelerator.distributed_type).value in _REPLICATED

    def _state(self) -> dict[str, torch.Tensor]:
        """Return trained weights, buffers, moving average and the optimiser's state, by name."""
        module = self.accelerator.unwrap_model(self.module)
        frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
        state = {f'module.{n}': t for n, t in module.state_dict().items() if n not in frozen}
        state |= {f'average.{name}': value for name, value in self._average.items()}
        optimizer = self._optimizer.state_dict()['state']
        for index, name in enumerate(self._trained):
            for key, value in optimizer.get(index, {}).items():
                state[f'optimizer.{name}.{key}'] = value
        return {name: value.contiguous() for name, value in state.items()}

    def _update(self, passes: list[tuple[Any, ...]]) -> None:
        """Update the weights once."""
        for group in self._optimizer.param_groups:
            group['lr'] = self.schedule.learning_rate_at(self.step)
        for number, batch in enumerate(passes, self.step * len(passes)):
            # Dropout differs between processes and is reproduced exactly after a resume.
            torch.manual_seed(hash((self._seed, number, self.accelerator.process_index)))
            with self.accelerator.accumulate(self.module):
                output = self.module(*batch)
                self.accelerator.backward(output.loss)
                if self.accelerator.sync_gradients and self.schedule.clip:
                    self.accelerator.clip_grad_norm_(self.module.parameters(), self.schedule.clip)
                self._optimizer.step()
                self._optimizer.zero_grad()
            self.observe(number, batch, output)
        weight = 1 - min(self._averaging, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            for name, average in self._average.items():
                average.lerp_(self._trained[name], weight)
        if (self.step + 1) % self._log_every == 0:
            self._log()
        self.step += 1

    def _log(self) -> None:
        """Log the mean of each noted figure, over all processes."""
        means = {name: torch.stack(values).mean() for name, values in self._noted.items()}
        means = self.accelerator.reduce(means, 'mean')
        self._noted.clear()
        if self.writer is None:
            return
        for name, value in means.items():
            self.writer.add_scalar(name, float(value), self.step)
        self.writer.add_scalar(
            'learning_rate', self.schedule.learning_rate_at(self.step), self.step
        )
        shown = {name: f'{float(value):.3f}' for name, value in means.items() if '/' not in name}
        self._progress.set_postfix(shown, refresh=False)

    def _save_is_due(self) -> bool:
        """Return whether a checkpoint is due by steps or by the clock of the first process."""
        late = time.monotonic() - self._saved_at > 60 * self._save_minutes
        if self.accelerator.num_processes > 1:
            flag = torch.tensor(late, dtype=torch.uint8, device=self.accelerator.device)
            late = bool(broadcast(flag))
        return late or (self._save_every > 0 and self.step % self._save_every == 0)

    def _checkpoint(self, step: int) -> Path:
        return self.folder / 'checkpoints' / f'step_{step:07}'


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a training, the newest last."""
    found = (folder / 'checkpoints').glob('step_*')
    return sorted(each for each in found if each.suffix != '.partial')


def saved_step(folder: Path) -> int:
    """Return the number of updates in the newest checkpoint of a training; 0 without one."""
    names = [each.name for each in checkpoints(folder)]
    return int(names[-1].removeprefix('step_')) if names else 0


def claim_training(folder: Path, origin: Mapping[str, Any]) -> None:
    """Record which training a folder belongs to, or check that it belongs to this training.

    A training without a checkpoint may be replaced by a different one.

    Args:
        origin: Settings and data that the checkpoints depend on, see `run_metadata.claim`.

    Raises:
        ValueError: The checkpoints belong to another training; the message says how to fix it.
    """
    note = folder / _NOTE
    if not checkpoints(folder):
        note.unlink(missing_ok=True)
    claim(note, origin, holds='a training with')


def _part(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
