"""The processes of an evaluation, as `accelerate launch` or `torchrun` start them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Iterator
from typing import Final, TypeVar

T = TypeVar('T')

# The first process to finish waits for the last; the default of minutes is too short.
_MAX_WAIT: Final = datetime.timedelta(days=7)


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process among the processes that share an evaluation.

    Args:
        rank: Number of this process, from 0.
        count: Number of processes.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    @contextlib.contextmanager
    def joined(cls) -> Iterator[Processes]:
        """Join the other processes that a launcher started, and select this process's GPU.

        Load the model inside the context, and leave it before the process ends: torch may abort
        otherwise.

        Raises:
            RuntimeError: accelerate is not installed.
        """
        if int(os.environ.get('WORLD_SIZE', '1')) == 1:
            yield cls()
            return
        try:
            import torch
            from accelerate import PartialState
        except ImportError:
            raise RuntimeError(
                'several processes need accelerate: pip install "instructseg_ros[evaluation]"'
            ) from None
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=_MAX_WAIT)
        try:
            yield cls(state.process_index, state.num_processes)
        finally:
            state.destroy_process_group()

    @property
    def first(self) -> bool:
        """Return whether this is the process that scores and prints."""
        return self.rank == 0

    def gather(self, values: list[T]) -> list[T]:
        """Concatenate the values of all processes; waits for all of them."""
        if self.count == 1:
            return values
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object(values)
        return gathered
