"""PyAV, which only films need."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any


class MissingPyAVError(RuntimeError):
    """Films need PyAV, and it is not installed."""


def import_av() -> ModuleType:
    """Return the module `av`.

    Raises:
        MissingPyAVError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPyAVError(
            f'films need PyAV ({error}): pip install av; pictures and bags are read without it, '
            f'and every format but "overlay" is written without it') from error
    return av


def open_film(file: Path, mode: str = 'r', **options: Any) -> Any:
    """Open a film with `av.open`; a name with a colon is a file too, not an address."""
    return import_av().open(f'file:{file}', mode, **options)
