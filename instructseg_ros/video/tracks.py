"""Track ids that stay the same when a run is resumed."""

from __future__ import annotations

from collections.abc import Sequence

from instructseg_ros.streaming.segmentation import Segmentation


class Tracks:
    """Numbers the tracks of a run 1, 2, 3, ..., whatever ids they have in this process."""

    def __init__(self, count: int = 0) -> None:
        """Begin after so many tracks of earlier processes."""
        self._count = count
        self._numbers = {0: 0}

    def learn(self, results: Sequence[Segmentation], numbers: Sequence[int]) -> None:
        """Take note of the numbers that tracks had on a frame that is shown again."""
        for result, number in zip(results, numbers, strict=True):
            if result.track_id and number:
                self._numbers[result.track_id] = number

    def number(self, result: Segmentation) -> int:
        """Return the number of the track of an answer; 0 unless FOUND."""
        if result.track_id not in self._numbers:
            self._count += 1
            self._numbers[result.track_id] = self._count
        return self._numbers[result.track_id]
