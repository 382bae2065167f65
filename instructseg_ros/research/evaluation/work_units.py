"""Divides a mask benchmark into work units; each is predicted by one process, if not yet done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.query import Query
from instructseg_ros.research.data.dataset import Procedure
from instructseg_ros.research.data.mask_files import merge, write_labels
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.evaluation.mask_scores import joined_file, sentence_file
from instructseg_ros.research.evaluation.predictor import (
    Predictor,
    single_sentences,
    whole_instruction,
)
from instructseg_ros.streaming.image_files import write_mask


class WorkUnit(Protocol):
    """Samples on the same image or video, and the prediction files for them."""

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples."""
        ...

    def run(self, predictor: Predictor, folder: Path) -> None:
        """Write the prediction files that do not exist yet.

        Raises:
            OSError, ValueError: An image is damaged or differs in size from its targets, an
                instruction is too long, or a file name leads out of the folder.
        """
        ...


@dataclasses.dataclass(frozen=True)
class ImageUnit:
    """An image with all sentences about its objects.

    Args:
        samples: Samples of the image.
        sentences: Whether each sentence is also predicted separately.
    """

    samples: tuple[Sample, ...]
    sentences: bool

    def run(self, predictor: Predictor, folder: Path) -> None:
        """Write the missing files; see `WorkUnit.run`."""
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
        samples: Samples of the video.
        merged: Write one label image per frame, in which each sample is an object, as DAVIS
            requires; otherwise write one mask for each sample and frame.
    """

    samples: tuple[Sample, ...]
    merged: bool

    def run(self, predictor: Predictor, folder: Path) -> None:
        """Write the missing files; see `WorkUnit.run`."""
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
            else:
                _write_missing(files, predictions)

    def _files(self, folder: Path, frame: str) -> list[Path]:
        if self.merged:
            first = self.samples[0]
            return [_within(folder, f'{first.group}/{first.details["video"]}/{frame}.png')]
        names = (f'Annotations/{sample.key}/{frame}.png' for sample in self.samples)
        return [_within(folder, name) for name in names]


@dataclasses.dataclass(frozen=True)
class RobotUnit:
    """An image or a video with all of its sentences, processed as the node processes it.

    Args:
        samples: Samples with the same frames.
    """

    samples: tuple[Sample, ...]

    def run(self, predictor: Predictor, folder: Path) -> None:
        """Write the missing files, then report damaged frames; see `WorkUnit.run`."""
        first = self.samples[0]
        sentences = [
            (sample, number, predictor.segmenter.query(text, sample.task.prompt))
            for sample in self.samples
            for number, text in enumerate(sample.instructions)
        ]
        broken: list[Exception] = []
        for index in range(len(first.frames)):
            files = [
                _within(folder, sentence_file(sample, number, index))
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
            raise ValueError(
                f'{len(broken)} of {len(first.frames)} frames failed, first: {broken[0]}'
            )

    def _predict(
        self, predictor: Predictor, index: int, queries: Sequence[Query]
    ) -> list[Prediction]:
        first = self.samples[0]
        if not first.task.is_video:
            return predictor.still(first.frames[0], queries)
        return predictor.frame(first.frames, index, queries, causal=True)


_MAKE: Final[dict[Procedure, Callable[[tuple[Sample, ...]], WorkUnit]]] = {
    Procedure.JOINED: lambda samples: ImageUnit(samples, sentences=False),
    Procedure.JOINED_AND_SINGLE: lambda samples: ImageUnit(samples, sentences=True),
    Procedure.VIDEO: lambda samples: VideoUnit(samples, merged=False),
    Procedure.VIDEO_LABELS: lambda samples: VideoUnit(samples, merged=True),
    Procedure.ROBOT: RobotUnit,
}


def work_units(procedure: Procedure, samples: Iterable[Sample]) -> list[WorkUnit]:
    """Group samples with equal frames, to encode these only once; for DAVIS, also by annotator."""
    groups: dict[Hashable, list[Sample]] = {}
    for sample in samples:
        group = sample.group if procedure is Procedure.VIDEO_LABELS else ''
        groups.setdefault((group, sample.task.is_video, sample.frames), []).append(sample)
    return [_MAKE[procedure](tuple(group)) for group in groups.values()]


def _within(folder: Path, name: str) -> Path:
    """Return the path of a file in the folder; refuse names from data sets that lead out of it."""
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
    """Write missing mask files; with `only_found`, a target not found gets an empty mask."""
    for file, prediction in zip(files, predictions, strict=True):
        if not file.is_file():
            shown = prediction.found or not only_found
            write_mask(file, prediction.mask if shown else np.zeros_like(prediction.mask))
