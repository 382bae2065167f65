"""Data sets by name."""

from __future__ import annotations

import importlib
from typing import Final

from instructseg_ros.data.reading import DataSet

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


def data_set(name: str) -> DataSet:
    """The data set of a name.

    Raises:
        ValueError: there is none of it.
    """
    if name not in _MODULES:
        raise ValueError(f'no data set is called {name!r}; there are {", ".join(NAMES)}')
    module = importlib.import_module(f'instructseg_ros.data.{_MODULES[name]}')
    sets: tuple[DataSet, ...] = module.DATA_SETS
    return next(each for each in sets if each.name == name)
