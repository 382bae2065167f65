"""Units of work of a benchmark: what one process does at a time, and what of it is done already."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from instructseg_ros.model.query import Query
from instructseg_ros.model.segmenter import Prediction
from instructseg_ros.research.data.images import Picture
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.evaluation.image_scores import joined_file, sentence_file
from instructseg_ros.research.evaluation.mask_files import merge, write_labels, write_mask
from instructseg_ros.research.evaluation.own_data import answer_file
from instructseg_ros.research.evaluation.predictor import (
    Predictor,
    single_sentences,
    task_of,
    whole_instruction,
)


class Unit(Protocol):
    """Something to predict, and the files that come of it."""

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Those that it does."""
        ...

    def run(self, predictor: Predictor, folder: Path) -> None:
        """Write the files that are not there yet.

        Raises:
            OSError, ValueError: a picture is broken or of another size than its targets, an
                instruction is too long, or a name leads out of the folder.
        """
        ...


@dataclasses.dataclass(frozen=True)
class StillUnit:
    """An image with all sentences about its things.

    Args:
        samples: of the one image.
        sentences: each sentence is an instruction of its own too.
    """

    samples: tuple[Sample, ...]
    sentences: bool

    def run(self, predictor: Predictor, folder: Path) -> None:
        """See `Unit`."""
        queries: list[Query] = []
        files: list[Path] = []
        for sample in self.samples:
            queries.append(whole_instruction(sample, predictor.segmenter))
            files.append(_within(folder, joined_file(sample)))
            if self.sentences:
                alone = single_sentences(sample, predictor.segmenter)
                queries += alone
                files += [_within(folder, sentence_file(sample, n)) for n in range(len(alone))]
        if all(file.is_file() for file in files):
            return
        predictions = predictor.still(self.samples[0].frames[0], queries)
        _check_size(self.samples, 0, predictions[0].mask.shape)
        _write_missing(files, predictions)


@dataclasses.dataclass(frozen=True)
class VideoUnit:
    """A video with all of its instructions.

    Args:
        samples: of the one video.
        merged: their masks are the objects of one picture a frame, as DAVIS wants it; otherwise
            each has a picture of its own.
    """

    samples: tuple[Sample, ...]
    merged: bool

    def run(self, predictor: Predictor, folder: Path) -> None:
        """See `Unit`."""
        first = self.samples[0]
        queries = [whole_instruction(sample, predictor.segmenter) for sample in self.samples]
        for index, name in enumerate(first.details['names']):
            files = self._files(folder, name)
            if all(file.is_file() for file in files):
                continue
            predictions = predictor.frame(first.frames, index, queries)
            _check_size(self.samples, index, predictions[0].mask.shape)
            if self.merged:
                write_labels(files[0], merge([each.probability for each in predictions]))
                continue
            _write_missing(files, predictions)

    def _files(self, folder: Path, frame: str) -> list[Path]:
        if self.merged:
            first = self.samples[0]
            return [_within(folder, f'{first.group}/{first.details["video"]}/{frame}.png')]
        names = (f'Annotations/{sample.key}/{frame}.png' for sample in self.samples)
        return [_within(folder, name) for name in names]


@dataclasses.dataclass(frozen=True)
class OwnUnit:
    """An image or a video of own data with all of its sentences, put as the node puts them.

    Args:
        samples: of the same frames.
    """

    samples: tuple[Sample, ...]

    def run(self, predictor: Predictor, folder: Path) -> None:
        """See `Unit`; a frame that cannot be read does not keep the others from being done."""
        first = self.samples[0]
        sentences = [
            (sample, number, predictor.segmenter.query(text, task_of(sample)))
            for sample in self.samples
            for number, text in enumerate(sample.instructions)
        ]
        broken: list[Exception] = []
        for index in range(len(first.frames)):
            files = [
                _within(folder, answer_file(sample, number, index))
                for sample, number, _ in sentences
            ]
            if all(file.is_file() for file in files):
                continue
            try:
                predictions = self._predict(predictor, index, [each for _, _, each in sentences])
                _check_size(self.samples, index, predictions[0].mask.shape)
            except (OSError, ValueError) as error:
                broken.append(error)
                continue
            _write_missing(files, predictions, only_found=True)
        if broken:
            raise ValueError(f'{len(broken)} of {len(first.frames)} frames, the first: {broken[0]}')

    def _predict(
        self, predictor: Predictor, index: int, queries: Sequence[Query]
    ) -> list[Prediction]:
        first = self.samples[0]
        if not first.kind.is_video:
            return predictor.still(first.frames[0], queries)
        return predictor.frame(first.frames, index, queries, causal=True)


def own_units(samples: Iterable[Sample]) -> list[OwnUnit]:
    """One unit for each image and each video, which is then looked at once for all sentences."""
    units: dict[tuple[bool, tuple[Picture, ...]], list[Sample]] = {}
    for sample in samples:
        units.setdefault((sample.kind.is_video, sample.frames), []).append(sample)
    return [OwnUnit(tuple(of_frames)) for of_frames in units.values()]


def still_units(samples: Iterable[Sample], *, sentences: bool) -> list[StillUnit]:
    """One unit for each image, which is then looked at once for all of its things."""
    images: dict[Picture, list[Sample]] = {}
    for sample in samples:
        images.setdefault(sample.frames[0], []).append(sample)
    return [StillUnit(tuple(of_image), sentences) for of_image in images.values()]


def video_units(samples: Iterable[Sample], *, merged: bool) -> list[VideoUnit]:
    """One unit for each video, and for DAVIS for each annotator of it."""
    videos: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        key = (sample.group if merged else '', sample.details['video'])
        videos.setdefault(key, []).append(sample)
    return [VideoUnit(tuple(of_video), merged) for of_video in videos.values()]


def share(units: Sequence[Unit], rank: int, processes: int) -> list[Unit]:
    """The units of one of several processes: every unit is one process's alone."""
    return list(units[rank::processes])


def _within(folder: Path, name: str) -> Path:
    """A file of a folder; names come from the data set's own files, which anyone may have made."""
    if Path(name).is_absolute() or '..' in Path(name).parts:
        raise ValueError(f'{name} would be written outside of {folder}')
    return folder / name


def _check_size(samples: Sequence[Sample], frame: int, size: tuple[int, ...]) -> None:
    for sample in samples:
        target = sample.targets[frame] if sample.targets else None
        if target is not None and target.size != size:
            raise ValueError(f'{sample.key} has masks of {target.size} for frames of {size}')


def _write_missing(
    files: Sequence[Path], predictions: Sequence[Prediction], *, only_found: bool = False
) -> None:
    """Write masks; with `only_found` an answer "not there" is a mask without pixels."""
    for file, prediction in zip(files, predictions, strict=True):
        if not file.is_file():
            shown = prediction.found or not only_found
            write_mask(file, prediction.mask if shown else np.zeros_like(prediction.mask))
