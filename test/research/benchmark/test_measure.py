from __future__ import annotations

import os
import runpy
import subprocess
import sys
import types
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from instructseg_ros.model.precision import PackedLinear, onednn_has_bfloat16
from instructseg_ros.research.benchmark import measure as measuring
from instructseg_ros.research.benchmark.measure import gemm_gflops, measure

CPU = torch.device('cpu')
BIG = 320 << 20  # bytes
HOLDS_MUCH = """
import sys

import torch

from instructseg_ros.research.benchmark.measure import PeakMemory, measure

cpu = torch.device('cpu')
measure(lambda: torch.ones(1).max(), cpu, runs=1)  # loads what is needed
before = PeakMemory(cpu).read()
_, cost = measure(lambda: torch.ones(int(sys.argv[1]), dtype=torch.uint8).max(), cpu, runs=1)
print(before, cost.memory_gb, PeakMemory(cpu).read())
"""

packs_bfloat16 = pytest.mark.skipif(
    not onednn_has_bfloat16(),
    reason='torch is built without oneDNN, or oneDNN has no bfloat16 on this CPU',
)
forgets_peaks = pytest.mark.skipif(
    not os.access('/proc/self/clear_refs', os.W_OK),
    reason="the process's peak memory cannot be reset on this system",
)


@torch.inference_mode()
def counted(work: Callable[[], object]) -> float:
    """Operations that `measure` counts."""
    return 1e9 * measure(work, CPU, runs=2)[1].gflop


@pytest.mark.parametrize('bias', [True, False])
def test_a_linear_layer_multiplies_and_adds_once_for_each_weight_and_row(bias: bool) -> None:
    layer = nn.Linear(7, 3, bias=bias)
    rows = torch.ones(2, 5, 7)
    assert counted(lambda: layer(rows)) == pytest.approx(2 * (2 * 5) * 7 * 3)


def test_a_convolution_multiplies_and_adds_once_for_each_weight_and_cell() -> None:
    layer = nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2)
    pictures = torch.ones(2, 6, 9, 8)
    cells = 2 * 5 * 4
    assert counted(lambda: layer(pictures)) == pytest.approx(2 * cells * 4 * (6 // 2) * 3 * 3)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('masked', [True, False])
def test_attention_is_two_products_for_each_head(masked: bool, dtype: torch.dtype) -> None:
    query = torch.ones(2, 3, 5, 8, dtype=dtype)
    key = torch.ones(2, 3, 7, 8, dtype=dtype)
    mask = torch.ones(5, 7, dtype=torch.bool) if masked else None
    flop = counted(lambda: functional.scaled_dot_product_attention(query, key, key, mask))
    assert flop == pytest.approx(2 * (2 * 3) * (2 * 5 * 7 * 8))


@packs_bfloat16
@pytest.mark.parametrize('activation', [('none', ''), ('gelu', 'tanh')])
def test_a_packed_layer_counts_as_the_layer_it_replaces(activation: tuple[str, str]) -> None:
    layer = PackedLinear(nn.Linear(40, 24, dtype=torch.bfloat16), *activation)
    rows = torch.ones(2, 5, 40, dtype=torch.bfloat16)
    assert counted(lambda: layer(rows)) == pytest.approx(2 * (2 * 5) * 40 * 24)


def test_a_torch_without_onednn_has_no_packed_layers_to_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.ops, 'mkldnn', types.SimpleNamespace())
    assert runpy.run_path(measuring.__file__)['UNCOUNTED']


def test_operations_of_several_layers_add_up() -> None:
    layers = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))
    rows = torch.ones(3, 4)
    assert counted(lambda: layers(rows)) == pytest.approx(2 * 3 * (4 * 8 + 8 * 2))


@pytest.mark.parametrize('runs', [1, 3])
def test_work_is_done_once_to_warm_up_and_then_on_the_clock(runs: int) -> None:
    made: list[object] = []

    def work() -> object:
        made.append(object())
        return made[-1]

    result, cost = measure(work, CPU, runs=runs)
    assert len(made) == 1 + runs and result in made
    assert cost.gflop == 0


@forgets_peaks
def test_the_peak_is_what_was_held_meanwhile_and_is_forgotten_afterwards() -> None:
    # In a process of its own: other tests leave freed memory, which would be used again.
    command = [sys.executable, '-c', HOLDS_MUCH, str(BIG)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    before, peak, after = map(float, done.stdout.split())
    assert peak - before == pytest.approx(BIG / 1e9, abs=0.05)
    assert after == pytest.approx(before, abs=0.05)


@forgets_peaks
@pytest.mark.usefixtures('small_products')
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_a_machine_multiplies_matrices_at_some_rate(dtype: torch.dtype) -> None:
    assert gemm_gflops(dtype, CPU) > 0
