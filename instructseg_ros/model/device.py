"""Device helpers: copies, concurrent work on a GPU, and out-of-memory errors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Arguments = ParamSpec('Arguments')
Result = TypeVar('Result')


class DeviceMemoryError(MemoryError):
    """The device is out of memory; releasing cached tensors or using smaller inputs may help."""


def on_device(work: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make a function run without gradients, and raise DeviceMemoryError if memory runs out."""

    @functools.wraps(work)
    def wrapped(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        try:
            with torch.inference_mode():
                return work(*arguments, **options)
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(
                'the device is out of memory; use fewer instructions or reference frames, a '
                'smaller dtype ("int8") or another device'
            ) from error

    return wrapped


def upload(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a host tensor to a device; if it is a GPU, do not wait for the copy to finish."""
    if device.type == 'cuda':
        values = values.pin_memory()  # torch reuses pinned memory once its copies are finished
    return values.to(device, non_blocking=True)


class SideStream:
    """Runs work concurrently with the current CUDA stream; on a CPU, immediately."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == 'cuda' else None

    def run(self, work: Callable[[], Result]) -> Result:
        """Start work after everything queued so far; call `join` before using its result.

        The work must allocate the tensors that it reads: memory of the current stream may be reused
        while the side stream still reads it.
        """
        if self._stream is None:
            return work()
        # Waiting also keeps the last result's memory from being reused before it has been read.
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            return work()

    def join(self) -> None:
        """Make the current stream wait for the work started by `run`."""
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
