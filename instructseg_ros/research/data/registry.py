"""Data sets by name."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

from instructseg_ros.research.data.reading import DataSet

# Where each is defined: its module is imported when the data set is asked for.
_MODULES: Final = {
    'refcoco': 'refcoco',
    'refcoco+': 'refcoco',
    'refcocog': 'refcoco',
    'reasonseg': 'reasonseg',
    'ref-youtube-vos': 'ref_youtube_vos',
    'ref-davis17': 'ref_davis',
    'revos': 'revos',
    'llava': 'llava',
    'vqav2': 'vqav2',
    'gqa': 'gqa',
    'mmbench': 'mmbench',
    'pope': 'pope',
    'scienceqa': 'scienceqa',
    'tabletop': 'tabletop',
    'folder': 'folder',
    'coco': 'coco',
    'bag': 'bag',
}
NAMES: Final = tuple(_MODULES)
_SYNTHETIC: Final = 'SYNTHETIC.txt'


def data_set(name: str) -> DataSet:
    """The data set of a name.

    Raises:
        ValueError: there is none of it.
    """
    if name not in _MODULES:
        raise ValueError(f'no data set is called {name!r}; there are {", ".join(NAMES)}')
    module = importlib.import_module(f'instructseg_ros.research.data.{_MODULES[name]}')
    sets: tuple[DataSet, ...] = module.DATA_SETS
    return next(each for each in sets if each.name == name)


def make_sample(name: str, folder: Path, seed: int) -> None:
    """Write a tiny synthetic set in the layout of a data set, and a file that says what it is.

    Raises:
        ValueError: there is no data set of that name.
    """
    data_set(name).make_sample(folder, seed)
    (folder / _SYNTHETIC).write_text(
        f'Synthetic images in the layout of {name}, written by `instructseg data make-sample`.\n'
        'Figures on them say nothing about figures on the real data set.\n'
    )


def is_synthetic(folder: Path) -> bool:
    """Whether `make_sample` wrote a folder."""
    return (folder / _SYNTHETIC).is_file()
