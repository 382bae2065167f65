from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from parallel_training import DATA, train, train_in_parallel
from safetensors.torch import load_file
from torch import nn

from instructseg_ros.research.training.recipe import RecipeError, Schedule
from instructseg_ros.research.training.trainer import (
    FrozenStatistics,
    LossOutput,
    Trainer,
    checkpoints,
    make_accelerator,
    saved_step,
)

SCHEDULE = Schedule(steps=9, learning_rate=0.05, warmup=2, clip=2.0)
AVERAGING = 0.6


class SmallModule(nn.Module):
    """Parameters, buffers, dropout, and a parameter that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, 1)
        )
        self.layers[0].bias.requires_grad_(False)

    def forward(self, indices: np.ndarray, rng: np.random.Generator) -> LossOutput:
        noise = torch.from_numpy(rng.normal(0, 0.1, (len(indices), 6))).float()
        out = self.layers(DATA[indices] + noise + 0.1 * torch.randn(len(indices), 6))
        loss = (out.float()[:, 0] - DATA[indices, 0]).square().mean()
        return LossOutput(loss=loss, parts={'error': loss})


class SmallTrainer(Trainer):
    """Records its batches and weights, and may save or stop before a step."""

    def __init__(self, folder: Path, *, seed: int = 3, averaging: float = AVERAGING) -> None:
        self.drawn: list[tuple[int, ...]] = []
        self.weights: list[torch.Tensor] = []
        self.save_at: int | None = None
        self.stop_at: int | None = None
        super().__init__(
            make_accelerator('no', cpu=True),
            SmallModule(),
            SCHEDULE,
            self.batches,
            folder,
            seed=seed,
            averaging=averaging,
        )

    def batches(self, steps: range) -> Iterator[tuple[Any, ...]]:
        for step in steps:
            self.weights.append(self.module.layers[4].weight.detach().clone())
            if self.step == self.save_at:
                self.save()
            if self.step == self.stop_at:
                raise KeyboardInterrupt
            rng = np.random.default_rng((0, step))
            indices = rng.choice(len(DATA), 4, replace=False)
            self.drawn.append(tuple(indices.tolist()))
            yield indices, rng


def trained(folder: Path) -> SmallTrainer:
    trainer = SmallTrainer(folder)
    trainer.run()
    return trainer


def assert_same_state(first: nn.Module, second: nn.Module) -> None:
    mine, its = first.state_dict(), second.state_dict()
    assert mine.keys() == its.keys()
    for name in mine:
        assert torch.equal(mine[name], its[name]), name


@pytest.mark.parametrize(('saved', 'killed'), [(0, 1), (3, 3), (4, 7), (8, 8)])
def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, saved: int, killed: int
) -> None:
    whole = trained(tmp_path / 'whole')
    cut = SmallTrainer(tmp_path / 'cut')
    cut.save_at, cut.stop_at = saved, killed
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    resumed = SmallTrainer(tmp_path / 'cut')
    assert resumed.step == saved
    resumed.run()
    assert resumed.drawn == whole.drawn[saved:]
    assert_same_state(whole.module, resumed.module)
    assert_same_state(whole.finish(), resumed.finish())


def test_a_finished_training_is_only_loaded(tmp_path: Path) -> None:
    whole = trained(tmp_path)
    again = SmallTrainer(tmp_path)
    again.run()
    assert again.drawn == [] and again.step == SCHEDULE.steps
    assert_same_state(whole.module, again.module)


def test_the_seed_determines_the_weights(tmp_path: Path) -> None:
    other = SmallTrainer(tmp_path / 'other', seed=4)
    other.run()
    whole = trained(tmp_path / 'whole')
    assert not torch.equal(other.module.layers[4].weight, whole.module.layers[4].weight)


def test_a_finished_module_has_the_moving_average_of_its_weights(tmp_path: Path) -> None:
    trainer = trained(tmp_path)
    weights = [*trainer.weights, trainer.module.layers[4].weight.detach().clone()]
    average = weights[0]
    for step, value in enumerate(weights[1:]):
        decay = min(AVERAGING, (step + 1) / (step + 20))
        average = decay * average + (1 - decay) * value
    assert trainer.module.training
    module = trainer.finish()
    assert not module.training
    torch.testing.assert_close(module.layers[4].weight.detach(), average)


def test_without_averaging_the_last_weights_stay(tmp_path: Path) -> None:
    trainer = SmallTrainer(tmp_path, averaging=0)
    trainer.run()
    last = trainer.module.layers[4].weight.detach().clone()
    assert torch.equal(trainer.finish().layers[4].weight, last)


def test_frozen_weights_are_neither_trained_nor_saved(tmp_path: Path) -> None:
    module = trained(tmp_path).finish()
    assert torch.equal(module.layers[0].bias, SmallModule().layers[0].bias)
    assert not torch.equal(module.layers[4].bias, SmallModule().layers[4].bias)
    state = load_file(checkpoints(tmp_path)[-1] / 'state.safetensors')
    assert 'module.layers.4.bias' in state and 'module.layers.1.running_mean' in state
    assert 'module.layers.0.bias' not in state


def test_a_failed_save_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    trained(tmp_path)
    [checkpoint] = checkpoints(tmp_path)
    before = (checkpoint / 'state.safetensors').read_bytes()
    names = [each.name for each in checkpoint.parent.rglob('*')]
    assert names == ['step_0000009', 'state.safetensors']
    trainer = SmallTrainer(tmp_path)
    (tmp_path / 'checkpoints' / 'step_0000009.partial').write_text('a file in the way')
    with pytest.raises(OSError, match='step_0000009'):
        trainer.save()
    assert checkpoints(tmp_path) == [checkpoint]
    assert (checkpoint / 'state.safetensors').read_bytes() == before


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    losses: list[float] = []

    class Linear(nn.Linear):
        def forward(self, indices: np.ndarray) -> LossOutput:  # type: ignore[override]
            loss = (super().forward(DATA[indices])[:, 0] - DATA[indices, 0]).square().mean()
            losses.append(loss.item())
            return LossOutput(loss=loss, parts={})

    def batches(steps: range) -> Iterator[tuple[np.ndarray]]:
        for step in steps:
            yield (np.random.default_rng(step).choice(len(DATA), 16, replace=False),)

    schedule = Schedule(steps=60, learning_rate=0.05, warmup=5)
    accelerator = make_accelerator('no', cpu=True)
    Trainer(accelerator, Linear(6, 1), schedule, batches, tmp_path, seed=0).run()
    assert np.mean(losses[-5:]) < 0.1 * np.mean(losses[:5])


def test_the_learning_rate_rises_stays_and_falls_to_nothing() -> None:
    schedule = Schedule(steps=1000, learning_rate=0.5, warmup=100, decay=0.6)
    rates = [schedule.learning_rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.005)
    assert np.all(np.diff(rates[:100]) > 0)
    assert rates[99:400] == pytest.approx([0.5] * 301)
    assert np.all(np.diff(rates[400:]) < 0)
    assert rates[700] == pytest.approx(0.25)
    assert 0 < rates[-1] < 1e-4


def test_a_warm_up_below_one_is_a_share_of_the_steps() -> None:
    share = Schedule(steps=200, learning_rate=0.5, warmup=0.1)
    steps = Schedule(steps=200, learning_rate=0.5, warmup=20)
    for step in range(200):
        assert share.learning_rate_at(step) == pytest.approx(steps.learning_rate_at(step))


@pytest.mark.parametrize('decay', [0.0, 1.5])
def test_a_decay_outside_of_the_training_is_refused(decay: float) -> None:
    with pytest.raises(RecipeError, match='decay must be above 0 and at most 1'):
        Schedule(steps=10, learning_rate=0.1, decay=decay)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        (tmp_path / 'port').write_text(str(free.getsockname()[1]))
    context = multiprocessing.get_context('spawn')
    processes = [
        context.Process(target=train_in_parallel, args=(rank, 2, tmp_path)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    alone = train(tmp_path / 'alone')
    for process in processes:
        process.join()
        assert process.exitcode == 0
    for rank in range(2):
        weights = load_file(tmp_path / f'weights{rank}.safetensors')
        for name, value in alone.items():
            torch.testing.assert_close(weights[name], value)
    assert saved_step(tmp_path / 'together') == 5


class Normed(FrozenStatistics):
    """A batch norm, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout()


def test_batch_norms_keep_their_statistics() -> None:
    module = Normed().train()
    assert module.training and module.dropout.training and not module.norm.training
    module.eval()
    assert not module.dropout.training and not module.norm.training


@pytest.mark.parametrize(('computes', 'precision'), [(True, 'bf16'), (False, 'no')])
def test_bfloat16_is_used_only_where_the_processor_computes_in_it(
    computes: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        'instructseg_ros.research.training.trainer.computes_bfloat16', lambda device: computes
    )
    AcceleratorState._reset_state(reset_partial_state=True)  # or the first precision stays
    assert make_accelerator('bf16', cpu=True).mixed_precision == precision
    AcceleratorState._reset_state(reset_partial_state=True)
