"""What the straightforward float32 pass costs, in a process of its own."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch

from instructseg_ros.model.memory import keep_freed_memory, release_freed_memory
from instructseg_ros.model.precision import Precision
from instructseg_ros.research.benchmark.measure import Cost, measure
from instructseg_ros.research.benchmark.random_model import configuration, random_model
from instructseg_ros.research.benchmark.stages import random_inputs
from instructseg_ros.research.benchmark.straightforward import (
    make_straightforward,
    straightforward_configuration,
    straightforward_pass,
)


def measure_naive(size: str, device: torch.device, *, frames: int, kept: bool) -> Cost:
    """Measure a still image in a new process.

    Args:
        size: one of `SIZES`.
        device: where it runs.
        frames: timed runs; the fastest counts.
        kept: whether the process keeps the memory that it frees, as ours do. By default, the C
            library maps fresh pages for every large tensor.

    Raises:
        RuntimeError: the process was killed, as systems do for want of memory.
    """
    release_freed_memory()
    spawn = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, spawn) as process:
        work = process.submit(_measure, size, device, frames, kept, torch.get_num_threads())
        try:
            return work.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                'the process of the straightforward pass was killed: at full size it needs 17 GB '
                'of memory; choose a smaller --size or leave out --naive'
            ) from error


@torch.inference_mode()
def _measure(size: str, device: torch.device, frames: int, kept: bool, threads: int) -> Cost:
    if kept:
        keep_freed_memory()
    torch.set_num_threads(threads)
    config = straightforward_configuration(configuration(size))
    model = random_model(config, Precision(), device)
    make_straightforward(model)
    inputs = random_inputs(config, device, references=0)
    _, cost = measure(lambda: straightforward_pass(model, inputs), device, runs=frames)
    return cost
