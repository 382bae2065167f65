"""Numbers of messages that people read by name."""

from __future__ import annotations

import enum


class NamedInt(enum.IntEnum):
    """An IntEnum that prints its name; by itself it prints the number from Python 3.11 on."""

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(int(self), spec) if spec else self.name
