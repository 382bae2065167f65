"""The interface of a data set, and the list of all data sets, imported on demand."""

from __future__ import annotations

import dataclasses
import enum
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from instructseg_ros.research.data.reading import DataError, MissingError, Reading
from instructseg_ros.research.data.sample import Sample

Answers = Mapping[str, str]  # key of a sample -> the model's answer
Figures = dict[str, Any]
PublishedFigures = Mapping[str, Mapping[str, Mapping[str, float]]]
PAPER: Final = 'InstructSeg (paper)'


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set: its names, its layout and its reader.

    Args:
        name: Name on the command line.
        splits: All splits.
        read: (folder, split) -> samples and problems, without decoding an image. Raises DataError
            if nothing can be read; the message names the missing file.
        layout: Description of the files and folders for users, one per line.
        preferred: Splits to evaluate on by default, of which the first existing one is used.
            Empty: the first of `splits`.
        make_sample: Writes a tiny synthetic set in this layout, given (folder, seed); None: there
            is no such set.
    """

    name: str
    splits: tuple[str, ...]
    read: Callable[[Path, str], Reading]
    layout: str
    preferred: tuple[str, ...] = ()
    make_sample: Callable[[Path, int], None] | None = None

    def known_split(self, split: str | None) -> str:
        """Return the split with this name, or by default the first one.

        Raises:
            DataError: There is no such split.
        """
        if split is not None and split not in self.splits:
            known = ', '.join(self.splits)
            raise DataError(f'{self.name} has no split {split!r}; its splits are {known}')
        return split or self.splits[0]

    def read_split(self, folder: Path, split: str | None) -> tuple[str, Reading]:
        """Read a split, by default the preferred one; return its name too.

        Raises:
            DataError: There is no such split, or it cannot be read.
        """
        if split is None:
            for preferred in self.preferred[:-1]:
                try:
                    return preferred, self.read(folder, preferred)
                except MissingError:
                    continue
            split = self.preferred[-1] if self.preferred else None
        split = self.known_split(split)
        return split, self.read(folder, split)


class Procedure(enum.Enum):
    """How a benchmark gets masks from the model and names their files (see `work_units`)."""

    JOINED = enum.auto()  # image: all sentences of a sample as one instruction
    JOINED_AND_SINGLE = enum.auto()  # image: as JOINED, and also each sentence alone
    VIDEO = enum.auto()  # a binary mask for each frame and sample
    VIDEO_LABELS = enum.auto()  # a label image for each frame, with all objects of a video
    ROBOT = enum.auto()  # like the node: each sentence alone, past frames only, "not found" allowed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark(DataSet):
    """A data set that a model is evaluated on.

    Args:
        published: Published results in percent: dotted name of the figure in the scores ->
            split -> method -> value.
        percent: Whether the scores are in percent; otherwise they are shares, 0 to 1.
    """

    published: PublishedFigures = dataclasses.field(default_factory=dict)
    percent: bool = False

    def comparison(self, split: str, own: str, figures: Figures) -> dict[str, dict[str, float]]:
        """Compare a model with published results.

        Args:
            split: Split that was evaluated.
            own: Name of the model.
            figures: The scores of the model.

        Returns:
            Method -> figure -> percent, with the model last; the model lacks figures that only a
            server computes. Empty without published results.
        """
        rows: dict[str, dict[str, float]] = {}
        for figure, splits in self.published.items():
            for method, value in splits.get(split, {}).items():
                rows.setdefault(method, {})[figure] = value
        if rows:
            scale = 1 if self.percent else 100
            found = {name: _at(figures, name) for name in self.published}
            rows[own] = {name: scale * value for name, value in found.items() if value is not None}
        return rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskBenchmark(Benchmark):
    """A benchmark whose answers are masks.

    Args:
        procedure: How the model is queried, and the names of its prediction files.
        score: (data folder, prediction folder, split) -> figures; None: only a server knows the
            targets.
        zipped: Whether to submit a zip archive of the folder `Annotations` in the predictions.
    """

    procedure: Procedure
    score: Callable[[Path, Path, str | None], Figures] | None = None
    zipped: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionBenchmark(Benchmark):
    """A benchmark whose answers are words.

    Args:
        score: (samples, answers) -> figures.
        submit: (samples, answers, folder) -> the submission file, if the benchmark has one.
    """

    score: Callable[[Sequence[Sample], Answers], Figures]
    submit: Callable[[Sequence[Sample], Answers, Path], Path] | None = None


def row(own: float, **others: float) -> dict[str, float]:
    """Return one row of a published table: each method's percentage, with the paper's own last.

    In argument names, `_` replaces `-`.
    """
    return {**{name.replace('_', '-'): value for name, value in others.items()}, PAPER: own}


def _at(figures: Mapping[str, Any], name: str) -> float | None:
    value: Any = figures
    for part in name.split('.'):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


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
