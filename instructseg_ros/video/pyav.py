"""PyAV, which only films need."""

from __future__ import annotations

from types import ModuleType


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
