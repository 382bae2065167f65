"""Data sets and benchmarks by name; their modules are imported on demand."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from instructseg_ros.research.data.dataset import DataSet

# Name, module with a tuple DATA_SETS, and the commands that take it in addition to `data check`.
_TABLE: Final = """
refcoco          published.refcoco          evaluate score
refcoco+         published.refcoco          evaluate score
refcocog         published.refcoco          evaluate score
reasonseg        published.reasonseg        evaluate score
ref-youtube-vos  published.ref_youtube_vos  evaluate
ref-davis17      published.ref_davis        evaluate score
revos            published.revos            evaluate score
llava            published.llava
vqav2            published.vqav2            evaluate
gqa              published.gqa              evaluate
mmbench          published.mmbench          evaluate
pope             published.pope             evaluate
scienceqa        published.scienceqa        evaluate
folder           data.image_folder          evaluate score make-sample
coco             data.coco                  evaluate score make-sample
bag              data.labelled_bag          evaluate score make-sample
"""
_MODULES: Final[dict[str, tuple[str, frozenset[str]]]] = {}


def register(name: str, module: str, *commands: str) -> None:
    """Add a data set.

    Args:
        name: Name on the command line.
        module: Full name of the module; its `DATA_SETS` has a `DataSet` of this name.
        commands: Commands that take it: `evaluate`, `score`, `make-sample`.
    """
    _MODULES[name] = module, frozenset(commands)


def names(command: str | None = None) -> tuple[str, ...]:
    """Return the names of all data sets, or of those that a command takes."""
    return tuple(
        name for name, (_, commands) in _MODULES.items() if command is None or command in commands
    )


def data_set(name: str) -> DataSet:
    """Return the data set with this name.

    Raises:
        ValueError: There is no such data set.
    """
    if name not in _MODULES:
        raise ValueError(f'no data set is called {name!r}; choose from {", ".join(names())}')
    sets: tuple[DataSet, ...] = importlib.import_module(_MODULES[name][0]).DATA_SETS
    return next(each for each in sets if each.name == name)


for _name, _module, *_commands in map(str.split, _TABLE.strip().splitlines()):
    register(_name, f'instructseg_ros.research.{_module}', *_commands)
