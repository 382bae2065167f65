from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from instructseg_ros.tabletop.training.loop import Loop, Schedule

SCHEDULE = Schedule(steps=9, batch=4, learning_rate=0.05, warmup=2, averaging=0.6)
DATA = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))


def small_module() -> nn.Module:
    """Parameters, buffers, noise of torch and a parameter that is not trained."""
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, 1)
    )
    module[0].bias.requires_grad_(False)
    return module


class Lesson:
    """The loss of a module, and what happens at given steps."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.drawn: list[np.ndarray] = []

    def draw(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        self.drawn.append(rng.choice(len(DATA), batch, replace=False))
        return self.drawn[-1]

    def loss(
        self, indices: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        noise = torch.from_numpy(rng.normal(0, 0.1, (len(indices), 6))).float()
        out = self.module(DATA[indices] + noise + 0.1 * torch.randn(len(indices), 6))
        loss = (out.float()[:, 0] - DATA[indices, 0]).square().mean()
        return loss, {'error': loss.item()}


def started(file: Path, schedule: Schedule = SCHEDULE) -> tuple[Loop, Lesson]:
    module = small_module()
    return Loop(module, schedule, file, seed=3), Lesson(module)


def state(loop: Loop) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in loop.module.state_dict().items()}


def assert_same_state(first: Loop, second: Loop) -> None:
    mine, its = state(first), state(second)
    assert mine.keys() == its.keys()
    for name in mine:
        assert torch.equal(mine[name], its[name]), name


def trained(file: Path) -> Loop:
    loop, lesson = started(file)
    loop.run(lesson.draw, lesson.loss)
    return loop


@pytest.mark.parametrize(('saved', 'killed'), [(0, 1), (3, 3), (4, 7), (8, 8)])
def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, saved: int, killed: int
) -> None:
    whole = trained(tmp_path / 'whole.safetensors')
    loop, lesson = started(tmp_path / 'cut.safetensors')

    def draw(rng: np.random.Generator, batch: int) -> np.ndarray:
        if loop.step == saved:
            loop.save()
        if loop.step == killed:
            raise KeyboardInterrupt
        return lesson.draw(rng, batch)

    with pytest.raises(KeyboardInterrupt):
        loop.run(draw, lesson.loss)
    resumed, lesson = started(tmp_path / 'cut.safetensors')
    assert resumed.step == saved
    resumed.run(lesson.draw, lesson.loss)
    assert len(lesson.drawn) == SCHEDULE.steps - saved
    assert_same_state(whole, resumed)
    whole.finish()
    resumed.finish()
    assert_same_state(whole, resumed)


def test_a_finished_run_is_only_loaded(tmp_path: Path) -> None:
    whole = trained(tmp_path / 'stage.safetensors')
    loop, lesson = started(tmp_path / 'stage.safetensors')
    loop.run(lesson.draw, lesson.loss)
    assert lesson.drawn == [] and loop.step == SCHEDULE.steps
    assert_same_state(whole, loop)


def test_each_step_draws_other_scenes(tmp_path: Path) -> None:
    loop, lesson = started(tmp_path / 'stage.safetensors')
    loop.run(lesson.draw, lesson.loss)
    assert len({tuple(drawn) for drawn in lesson.drawn}) == SCHEDULE.steps


def test_the_seed_decides_about_the_curve(tmp_path: Path) -> None:
    module = small_module()
    other = Loop(module, SCHEDULE, tmp_path / 'other.safetensors', seed=4)
    lesson = Lesson(module)
    other.run(lesson.draw, lesson.loss)
    whole = trained(tmp_path / 'stage.safetensors')
    assert not torch.equal(state(other)['4.weight'], state(whole)['4.weight'])


def test_finishing_leaves_the_moving_average(tmp_path: Path) -> None:
    loop, lesson = started(tmp_path / 'stage.safetensors')
    after: list[torch.Tensor] = []

    def draw(rng: np.random.Generator, batch: int) -> np.ndarray:
        after.append(loop.module[0].weight.detach().clone())
        return lesson.draw(rng, batch)

    loop.run(draw, lesson.loss)
    after.append(loop.module[0].weight.detach().clone())
    average = after[0]
    for step, weights in enumerate(after[1:]):
        decay = min(SCHEDULE.averaging, (step + 1) / (step + 20))
        average = decay * average + (1 - decay) * weights
    assert loop.module.training
    loop.finish()
    assert not loop.module.training
    torch.testing.assert_close(loop.module[0].weight.detach(), average)


def test_what_needs_no_gradient_is_left_alone(tmp_path: Path) -> None:
    loop = trained(tmp_path / 'stage.safetensors')
    loop.finish()
    assert torch.equal(loop.module[0].bias, small_module()[0].bias)
    assert not torch.equal(loop.module[4].bias, small_module()[4].bias)


def test_a_failed_save_leaves_the_last_state(tmp_path: Path) -> None:
    file = tmp_path / 'stage.safetensors'
    trained(file)
    before = file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name]
    loop, _ = started(file)
    (tmp_path / 'stage.partial').mkdir()  # in the way of what is being written
    with pytest.raises(Exception, match=r'(?i)directory'):
        loop.save()
    assert file.read_bytes() == before


def test_saving_makes_the_folder(tmp_path: Path) -> None:
    loop, _ = started(tmp_path / 'a' / 'b' / 'stage.safetensors')
    loop.save()
    assert loop.file.is_file()


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    module = nn.Linear(6, 1)
    schedule = Schedule(steps=60, batch=16, learning_rate=0.05, warmup=5)
    losses: list[float] = []

    def loss(
        indices: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        value = (module(DATA[indices]).float()[:, 0] - DATA[indices, 0]).square().mean()
        losses.append(value.item())
        return value, {}

    loop = Loop(module, schedule, tmp_path / 'linear.safetensors', seed=0)
    loop.run(Lesson(module).draw, loss)
    assert np.mean(losses[-5:]) < 0.1 * np.mean(losses[:5])


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    schedule = Schedule(steps=1000, batch=1, learning_rate=0.5, warmup=100, decay=0.6)
    rates = [schedule.rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.005)
    assert np.all(np.diff(rates[:100]) > 0)
    assert rates[99:400] == pytest.approx([0.5] * 301)
    assert np.all(np.diff(rates[400:]) < 0)
    assert rates[700] == pytest.approx(0.25)
    assert 0 < rates[-1] < 1e-4
