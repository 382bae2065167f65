"""One of several processes that train a small module, for a test to start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from instructseg_ros.research.training.recipe import Schedule
from instructseg_ros.research.training.trainer import LossOutput, Trainer, make_accelerator

SCHEDULE = Schedule(steps=5, learning_rate=0.05, warmup=1)
DATA = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))


class Regression(nn.Linear):
    """Predicts the first column of `DATA`."""

    def forward(self, indices: np.ndarray) -> LossOutput:  # type: ignore[override]
        """Compute the mean squared error of some rows."""
        loss = (super().forward(DATA[indices])[:, 0] - DATA[indices, 0]).square().mean()
        return LossOutput(loss=loss, parts={})


def train(folder: Path) -> dict[str, torch.Tensor]:
    """Train without noise, so that every split of a batch gives the same weights."""
    torch.manual_seed(1)
    accelerator = make_accelerator('no', cpu=True)

    def batches(steps: range) -> Iterator[tuple[np.ndarray]]:
        for step in steps:
            drawn = np.random.default_rng(step).choice(len(DATA), 8, replace=False)
            yield (drawn[accelerator.process_index :: accelerator.num_processes],)

    trainer = Trainer(
        accelerator, Regression(6, 1), SCHEDULE, batches, folder, seed=0, averaging=0.9
    )
    trainer.run()
    weights = {name: value.detach() for name, value in trainer.finish().state_dict().items()}
    accelerator.end_training()
    return weights


def train_in_parallel(rank: int, count: int, folder: Path) -> None:
    """Train as process `rank` of `count` and save the weights to a file of its own."""
    os.environ |= {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(count)}
    os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': (folder / 'port').read_text()}
    torch.set_num_threads(1)
    save_file(train(folder / 'together'), folder / f'weights{rank}.safetensors')
