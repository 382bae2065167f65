"""Whether the images of a camera are stamped as reference frames need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

SURE_AFTER: Final = 10  # images in a row whose stamps do not advance


class StampCheck:
    """Warns once for each camera whose stamps are of no use, and names the remedy."""

    def __init__(self, topic: str, warn: Callable[[str], object]) -> None:
        """Begin with no image of a topic seen."""
        self._topic = topic
        self._warn = warn
        self._last: int | None = None
        self._standing = 0
        self._warned = False

    def note(self, stamp: int) -> None:
        """Take note of the stamp of an image, ns."""
        self._standing = self._standing + 1 if self._last == stamp else 0
        self._last = stamp
        if stamp == 0:
            self._warn_once(
                'have no stamp (all zeros): earlier images are shown to the model by the time of '
                'their arrival, depth and other topics cannot be matched with the results, and '
                'the age of a result is unknown')
        elif self._standing >= SURE_AFTER:
            self._warn_once(
                'all have the same stamp: no earlier image is shown to the model, depth and other '
                'topics cannot be matched with the results, and the age of a result is wrong')

    def _warn_once(self, trouble: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f'images on {self._topic} {trouble}; let the camera driver set '
                       f'header.stamp to the time of exposure')
