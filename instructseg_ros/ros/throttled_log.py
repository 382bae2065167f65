"""Warnings that repeat are said once in a while, each kind by itself."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable

KINDS_KEPT = 64
# Numbers, addresses of objects and ids, and names that people chose; but not names of topics.
VARIABLE = re.compile(r'((?<!\S)/\S*)|"[^"]*"|\w*\d\w*')


class ThrottledLog:
    """Passes a text on unless one like it was passed on lately, but for numbers, ids and names.

    Texts about different topics are not alike.
    """

    def __init__(self, log: Callable[[str], object], *, period: float = 5.0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """Say each kind of text at most once in `period` seconds, by calling `log`."""
        self._log = log
        self._period = period
        self._clock = clock
        self._last: OrderedDict[str, float] = OrderedDict()

    def __call__(self, text: str) -> None:
        """Log the text, or leave it out."""
        kind, now = VARIABLE.sub(r'\g<1>0', text), self._clock()
        if now - self._last.get(kind, float('-inf')) < self._period:
            return
        self._last[kind] = now
        self._last.move_to_end(kind)
        while len(self._last) > KINDS_KEPT:
            self._last.popitem(last=False)
        self._log(text)
