"""Measures time, operations and memory of a function on a device."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

Result = TypeVar('Result')
Shape = tuple[int, ...]
_SIDE: Final = 4096
_TRIES: Final = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of a function.

    Attributes:
        seconds: Time of the fastest run.
        gflop: 10^9 multiplications and additions in matrix products and convolutions.
        memory_gb: Peak memory while it ran, 10^9 bytes: resident memory of the process, or memory
            that torch allocated on the GPU.
    """

    seconds: float
    gflop: float
    memory_gb: float


def measure(work: Callable[[], Result], device: torch.device, *, runs: int) -> tuple[Result, Cost]:
    """Run a function once to count operations and warm up, then time `runs` further runs."""
    memory = PeakMemory(device)
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        result = work()
    seconds = min(_seconds(work, device) for _ in range(runs))
    flop = counter.get_total_flops()
    return result, Cost(seconds=seconds, gflop=flop / 1e9, memory_gb=memory.read())


def gemm_gflops(dtype: torch.dtype, device: torch.device) -> float:
    """Measure the peak rate of the device in a large matrix product, 10^9 operations/s."""
    left = torch.ones(_SIDE, _SIDE, dtype=dtype, device=device)
    right = torch.ones(_SIDE, _SIDE, dtype=dtype, device=device)
    functional.linear(left, right)
    seconds = min(_seconds(lambda: functional.linear(left, right), device) for _ in range(_TRIES))
    return 2 * _SIDE**3 / seconds / 1e9


class PeakMemory:
    """Peak memory since its creation; only one instance at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _reset_resident_peak()

    def read(self) -> float:
        """Return the peak memory, 10^9 bytes."""
        if self._device.type == 'cuda':
            return torch.cuda.max_memory_allocated(self._device) / 1e9
        return _resident_peak() / 1e9


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or 'cpu'."""
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else 'cpu'


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    _wait_for(device)
    start = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def _reset_resident_peak() -> None:
    try:
        Path('/proc/self/clear_refs').write_text('5')
    except OSError:
        return  # the peak then counts from the start of the process


def _resident_peak() -> float:
    try:
        lines = Path('/proc/self/status').read_text().splitlines()
        return 1024 * float(next(line.split()[1] for line in lines if line.startswith('VmHWM')))
    except (OSError, StopIteration):
        return 1024 * float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _packed_linear_flop(inputs: Shape, *_: object, out_shape: Shape, **__: object) -> int:
    return 2 * inputs[-1] * torch.Size(out_shape).numel()


def _attention_flop(query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query, key, value))


# CPU operations that torch's counter does not know.
UNCOUNTED: Final[dict[Any, Callable[..., int]]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop
}
if hasattr(torch.ops.mkldnn, '_linear_pointwise'):  # missing in builds without oneDNN
    UNCOUNTED[torch.ops.mkldnn._linear_pointwise] = _packed_linear_flop
