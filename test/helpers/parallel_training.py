"""One of several processes that train a small module, for a test to start."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import distributed, nn

from instructseg_ros.tabletop.training import loop as parallel
from instructseg_ros.tabletop.training.loop import Loop, Schedule

SCHEDULE = Schedule(steps=5, batch=8, learning_rate=0.05, warmup=1)
DATA = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))


def train(file: Path) -> dict[str, torch.Tensor]:
    """Train without noise, so that every split of a batch means the same."""
    torch.manual_seed(1)
    module = nn.Linear(6, 1)

    def draw(rng: np.random.Generator, batch: int) -> np.ndarray:
        return rng.choice(len(DATA), batch, replace=False)

    def loss(
        indices: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        with torch.autocast('cpu', enabled=False):
            return (module(DATA[indices])[:, 0] - DATA[indices, 0]).square().mean(), {}

    loop = Loop(module, SCHEDULE, file, seed=0)
    loop.run(draw, loss)
    loop.finish()
    return {name: value.detach() for name, value in module.state_dict().items()}


def train_beside_others(rank: int, count: int, folder: Path) -> None:
    """Train as process `rank` of `count` and leave the result in a file of its own."""
    os.environ |= {'RANK': str(rank), 'WORLD_SIZE': str(count)}
    os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': (folder / 'port').read_text()}
    torch.set_num_threads(1)
    parallel.join()
    weights = train(folder / 'state.safetensors')
    save_file(weights, folder / f'weights{rank}.safetensors')
    parallel.wait()
    distributed.destroy_process_group()
