from __future__ import annotations

import multiprocessing
import socket
from pathlib import Path

import numpy as np
import torch
from parallel_training import train, train_beside_others
from safetensors import safe_open
from safetensors.torch import load_file

from instructseg_ros.tabletop.training import loop as parallel


def test_a_single_process_keeps_all_to_itself() -> None:
    parallel.join()
    parallel.wait()
    assert parallel.rank() == 0
    assert parallel.share(np.arange(5)).tolist() == [0, 1, 2, 3, 4]
    weight = torch.ones(2, requires_grad=True)
    weight.sum().backward()
    parallel.average_gradients([weight])
    assert weight.grad.tolist() == [1, 1]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        (tmp_path / 'port').write_text(str(free.getsockname()[1]))
    context = multiprocessing.get_context('spawn')
    processes = [
        context.Process(target=train_beside_others, args=(rank, 2, tmp_path)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    alone = train(tmp_path / 'alone.safetensors')
    for process in processes:
        process.join()
        assert process.exitcode == 0
    for rank in range(2):
        weights = load_file(tmp_path / f'weights{rank}.safetensors')
        for name, value in alone.items():
            torch.testing.assert_close(weights[name], value)
    with safe_open(tmp_path / 'state.safetensors', 'pt') as opened:
        assert opened.metadata() == {'step': '5'}
