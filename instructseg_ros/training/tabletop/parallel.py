"""Several processes that train one model, each on its share of every batch.

Started by `torchrun --nproc_per_node N`; a single process needs no launcher.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
import torch
from torch import distributed


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
