"""Work on a device: copies to it, work beside other work, and its memory running out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Arguments = ParamSpec('Arguments')
Result = TypeVar('Result')
Kind = tuple[torch.Size, torch.dtype]


class DeviceMemoryError(MemoryError):
    """The device has no memory left; what was kept may be dropped, and smaller work may fit."""


def on_device(work: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run a function without gradients, and say in plain words when memory runs out.

    Raises:
        DeviceMemoryError: in place of torch's error.
    """

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


class Upload:
    """Copies host tensors to a device; to a GPU from pinned buffers, without waiting."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: dict[Kind, tuple[torch.Tensor, torch.cuda.Event]] = {}

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """A batch on the device; there is one buffer for batches of each shape of row and type."""
        if self._device.type != 'cuda':
            return values.to(self._device)
        kind = (values.shape[1:], values.dtype)
        if kind not in self._buffers or len(self._buffers[kind][0]) < len(values):
            pinned = torch.empty_like(values, pin_memory=True)
            self._buffers[kind] = pinned, torch.cuda.Event()
        whole, copied = self._buffers[kind]
        copied.synchronize()  # the copy before this one has left the buffer
        buffer = whole[: len(values)]
        buffer.copy_(values)
        moved = buffer.to(self._device, non_blocking=True)
        copied.record(torch.cuda.current_stream(self._device))
        return moved


class SideStream:
    """Runs work beside that of the current stream; on a CPU in turn with it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == 'cuda' else None

    def run(self, work: Callable[[], Result]) -> Result:
        """Begin work after everything that was queued; wait with `join` before its use.

        The work must allocate what it reads: memory of the current stream may be given away while
        the side stream still reads it.
        """
        if self._stream is None:
            return work()
        # The wait also keeps memory of the last result until its readers are done.
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            return work()

    def join(self) -> None:
        """Let the current stream wait for what was begun."""
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
