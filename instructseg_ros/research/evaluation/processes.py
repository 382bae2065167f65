"""One process or many, as `accelerate launch` or `torchrun` start them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Iterator
from typing import Final, TypeVar

T = TypeVar('T')

# The first to be done waits for the last, by default for minutes only.
_LONGEST_WAIT: Final = datetime.timedelta(days=7)


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process among those that share a task.

    Args:
        rank: its number, from 0 on.
        count: of all.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    @contextlib.contextmanager
    def joined(cls) -> Iterator[Processes]:
        """Be among the others, where a launcher started some; each gets a GPU where there are some.

        A model that is loaded inside is loaded to that one. Torch may abort a process that ends
        inside.

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
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_WAIT)
        try:
            yield cls(state.process_index, state.num_processes)
        finally:
            state.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this is the one that scores and prints."""
        return self.rank == 0

    def gather(self, values: list[T]) -> list[T]:
        """What all processes have, once all of them are here."""
        if self.count == 1:
            return values
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object(values)
        return gathered
