"""One process or many, as `accelerate launch` or `torchrun` start them."""

from __future__ import annotations

import dataclasses
import datetime
import os
from typing import Final

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
    def join(cls) -> Processes:
        """Join the others, where a launcher started some; each gets a GPU where there are some.

        A model that is loaded afterwards is loaded to that one.

        Raises:
            RuntimeError: accelerate is not installed.
        """
        if int(os.environ.get('WORLD_SIZE', '1')) == 1:
            return cls()
        try:
            import torch
            from accelerate import PartialState
        except ImportError:
            raise RuntimeError(
                'several processes need accelerate: pip install "instructseg_ros[evaluation]"'
            ) from None
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_WAIT)
        return cls(state.process_index, state.num_processes)

    @property
    def first(self) -> bool:
        """Whether this is the one that scores and prints."""
        return self.rank == 0

    def gather(self, values: list[str]) -> list[str]:
        """What all processes have, once all of them are here."""
        if self.count == 1:
            return values
        from accelerate.utils import gather_object

        gathered: list[str] = gather_object(values)
        return gathered
