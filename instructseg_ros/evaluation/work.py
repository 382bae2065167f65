"""Units of work of a benchmark: what one process does at a time, and what of it is done already."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from instructseg_ros.data.sample import Sample
from instructseg_ros.evaluation.predictor import Predictor, single_sentences, whole_instruction
from instructseg_ros.evaluation.still import joined_file, sentence_file
from instructseg_ros.evaluation.video_files import merge, write_labels, write_mask


class Unit(Protocol):
    """Something to predict, and the files that come of it."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    def run(self, predictor: Predictor, folder: Path) -> None:
        """Write the files that are not there yet.

        Raises:
            OSError, ValueError: a picture is broken, or an instruction is too long.
        """
        ...


@dataclasses.dataclass(frozen=True)
class StillUnit:
    """An image with its sentences.

    Args:
        sample: of the benchmark.
        sentences: each of them is an instruction too.
    """

    sample: Sample
    sentences: bool

    @property
    def name(self) -> str:
        """See `Unit`."""
        return self.sample.key

    def run(self, predictor: Predictor, folder: Path) -> None:
        """See `Unit`."""
        expressions = [whole_instruction(self.sample, predictor.segmenter)]
        files = [folder / joined_file(self.sample)]
        if self.sentences:
            alone = single_sentences(self.sample, predictor.segmenter)
            expressions += alone
            files += [folder / sentence_file(self.sample, number) for number in range(len(alone))]
        if all(file.is_file() for file in files):
            return
        predictions = predictor.still(self.sample.frames[0], expressions)
        for file, prediction in zip(files, predictions, strict=True):
            write_mask(file, prediction.mask)


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

    @property
    def name(self) -> str:
        """See `Unit`."""
        first = self.samples[0]
        return '/'.join(filter(None, [first.group if self.merged else '', first.details['video']]))

    def run(self, predictor: Predictor, folder: Path) -> None:
        """See `Unit`."""
        first = self.samples[0]
        expressions = [whole_instruction(sample, predictor.segmenter) for sample in self.samples]
        for index, name in enumerate(first.details['names']):
            files = self._files(folder, name)
            if all(file.is_file() for file in files):
                continue
            predictions = predictor.frame(first.frames, index, expressions)
            if self.merged:
                write_labels(files[0], merge([each.probability for each in predictions]))
                continue
            for file, prediction in zip(files, predictions, strict=True):
                write_mask(file, prediction.mask)

    def _files(self, folder: Path, frame: str) -> list[Path]:
        if self.merged:
            return [folder / self.name / f'{frame}.png']
        return [folder / 'Annotations' / sample.key / f'{frame}.png' for sample in self.samples]


def still_units(samples: Iterable[Sample], *, sentences: bool) -> list[StillUnit]:
    """One unit for each image."""
    return [StillUnit(sample, sentences) for sample in samples]


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
