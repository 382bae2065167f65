"""Whether a target is there, with memory, so that it does not flicker; and which one it is."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Final

import numpy as np

# Track ids are unique in a process, so that nobody takes two cameras' targets for one.
_ids = itertools.count(1)
MEMORY: Final = 1_000_000_000  # ns that a target may be out of sight and keep its id


@dataclass(kw_only=True, eq=False)
class Presence:
    """What is remembered of the target of an instruction on a camera.

    Attributes:
        found: Whether it was there on the last frame.
        track_id: Its identity; stays while masks overlap from one time it is found to the next.
    """

    found: bool = False
    track_id: int = 0
    _mask: np.ndarray | None = field(default=None, repr=False)
    _seen: int = 0

    def update(self, mask: np.ndarray, score: float, *, stamp: int, threshold: float,
               release: float) -> bool:
        """Decide whether the target is there.

        Args:
            mask: (H, W) bool.
            score: 0..1.
            stamp: When the frame was captured, ns.
            threshold: Score from which a target counts as found.
            release: Score below which one that was there counts as gone.
        """
        was_found = self.found
        self.found = bool(score >= (release if was_found else threshold) and mask.any())
        if self.found:
            if not self._is_same(mask, stamp - self._seen, was_found=was_found):
                self.track_id = next(_ids)
            self._mask, self._seen = mask, stamp
        return self.found

    def _is_same(self, mask: np.ndarray, elapsed: int, *, was_found: bool) -> bool:
        if self._mask is None or self._mask.shape != mask.shape or elapsed < 0:
            return False
        return (was_found or elapsed <= MEMORY) and bool((self._mask & mask).any())
