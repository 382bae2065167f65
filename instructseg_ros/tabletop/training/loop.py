"""One training loop for all stages: schedule, moving average, checkpoints, several processes."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import distributed, nn
from tqdm import tqdm


def join() -> None:
    """Join the other processes where there are any."""
    if 'WORLD_SIZE' in os.environ and not distributed.is_initialized():
        distributed.init_process_group('gloo')


def leave() -> None:
    """Leave the other processes: torch may abort one that ends without."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank() -> int:
    """Number of this process; process 0 writes files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share(indices: np.ndarray) -> np.ndarray:
    """This process's share of a batch."""
    if not distributed.is_initialized():
        return indices
    return indices[distributed.get_rank() :: distributed.get_world_size()]


def average_gradients(parameters: Iterable[torch.Tensor]) -> None:
    """Give every process the mean of all gradients."""
    if not distributed.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    pieces = flat.split([gradient.numel() for gradient in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))


def wait() -> None:
    """Wait until every process is here."""
    if distributed.is_initialized():
        distributed.barrier()


Draw = Callable[[np.random.Generator, int], np.ndarray]
Loss = Callable[[np.ndarray, np.random.Generator], tuple[torch.Tensor, dict[str, float]]]

_SAVE_EVERY = 120.0  # seconds
_REPORT_EVERY = 100  # steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast a stage learns.

    Args:
        steps: optimiser steps.
        learning_rate: peak, reached after `warmup` steps.
        decay: share of the steps, at the end, over which the rate falls to nothing.
        averaging: decay of the moving average of the weights.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 100
    decay: float = 0.7
    weight_decay: float = 0.03
    clip: float = 2.0
    averaging: float = 0.998

    def rate(self, step: int) -> float:
        """Learning rate at a step."""
        rise = min(1.0, (step + 1) / self.warmup)
        left = (self.steps - step) / (self.steps * self.decay)
        return self.learning_rate * rise * 0.5 * (1 - math.cos(math.pi * min(1.0, left)))


class Loop:
    """Trains a module on batches of scene indices and keeps its state in one file.

    A loop that finds its file goes on from the step it was saved at: the random numbers of a
    step depend only on the seed and the step, so that the curve is the same.
    """

    def __init__(self, module: nn.Module, schedule: Schedule, file: Path, *, seed: int) -> None:
        self.module = module
        self.schedule = schedule
        self.file = file
        self.seed = seed
        self.step = 0
        self._trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._optimizer = torch.optim.AdamW(
            self._trained.values(),
            lr=schedule.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=schedule.weight_decay,
        )
        self._average = {n: p.detach().clone() for n, p in self._trained.items()}
        if file.exists():
            self._load()

    def run(self, draw: Draw, loss: Loss) -> None:
        """Train to the schedule's end on the loss of the scenes that `draw` chooses."""
        self.module.train()
        saved = time.monotonic()
        progress = tqdm(
            range(self.step, self.schedule.steps),
            self.file.stem,
            initial=self.step,
            total=self.schedule.steps,
            disable=rank() > 0,
        )
        for step in progress:
            # The draw is the same in every process, what is drawn for the scenes is not.
            drawn = draw(np.random.default_rng((self.seed, step)), self.schedule.batch)
            rng = np.random.default_rng((self.seed, step, rank()))
            torch.manual_seed(self.seed + step)
            indices = np.sort(share(drawn))
            with torch.autocast('cpu', torch.bfloat16):
                value, figures = loss(indices, rng)
            self._update(value, step)
            self.step = step + 1
            if step % _REPORT_EVERY == 0 and rank() == 0:
                shown = ' '.join(f'{name} {figure:.3f}' for name, figure in figures.items())
                progress.write(f'{self.file.stem} {step} loss {value.item():.3f} {shown}')
            if time.monotonic() - saved > _SAVE_EVERY:
                self.save()
                saved = time.monotonic()
        self.save()

    def finish(self) -> None:
        """Leave the moving average in the module."""
        self._set(self._average)
        self.module.eval()

    def save(self) -> None:
        """Write weights, buffers, average, optimiser state and step to the file, atomically."""
        if rank() > 0:
            return
        state = {f'module.{n}': t for n, t in self.module.state_dict().items()}
        state |= {f'average.{n}': t for n, t in self._average.items()}
        for name, parameter in self._trained.items():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                state[f'optimizer.{name}.{key}'] = value
        state = {n: t.contiguous().clone() for n, t in state.items()}
        scratch = self.file.with_suffix('.partial')
        self.file.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, scratch, {'step': str(self.step)})
        scratch.replace(self.file)

    def _update(self, loss: torch.Tensor, step: int) -> None:
        for group in self._optimizer.param_groups:
            group['lr'] = self.schedule.rate(step)
        self._optimizer.zero_grad()
        loss.backward()
        average_gradients(self._trained.values())
        nn.utils.clip_grad_norm_(self._trained.values(), self.schedule.clip)
        self._optimizer.step()
        weight = 1 - min(self.schedule.averaging, (step + 1) / (step + 20))
        with torch.no_grad():
            for name, parameter in self._trained.items():
                self._average[name].lerp_(parameter, weight)

    def _set(self, weights: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(weights[name])

    def _load(self) -> None:
        state = load_file(self.file)
        self.module.load_state_dict(_strip(state, 'module.'))
        self._average = _strip(state, 'average.')
        for name, parameter in self._trained.items():
            kept = _strip(state, f'optimizer.{name}.')
            if kept:
                self._optimizer.state[parameter] = kept
        self.step = saved_step(self.file)


def _strip(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def saved_step(file: Path) -> int:
    """Steps that a loop had done when it wrote its file; 0 without one."""
    if not file.exists():
        return 0
    with safe_open(file, 'pt') as opened:
        return int(opened.metadata()['step'])
