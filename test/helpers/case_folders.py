"""Folders of recorded cases: the repository's, and further ones."""

from __future__ import annotations

import os
from pathlib import Path


def case_folders(shipped: Path, variable: str) -> list[Path]:
    """The repository's folder, then those that an environment variable lists as PATH does.

    Raises:
        FileNotFoundError: one of them is not there.
    """
    names = os.environ.get(variable, '').split(os.pathsep)
    named = [Path(name).resolve() for name in names if name]
    for folder in named:
        if not folder.is_dir():
            raise FileNotFoundError(f'{variable} names {folder}, which is no folder')
    return [shipped, *(folder for folder in dict.fromkeys(named) if folder != shipped)]
