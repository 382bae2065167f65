"""Finds what is missing or broken in a data set by opening all of its images and targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from instructseg_ros.research.data.dataset import DataSet
from instructseg_ros.research.data.reading import DataError, MissingError, Problem
from instructseg_ros.research.data.sample import ImageSource, Sample
from instructseg_ros.research.data.targets import Target


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """Result of checking one split.

    Args:
        split: Name of the split.
        samples: Number of usable samples; `frames`, `sentences` and `turns` count only these.
        frames: Number of images and video frames.
        sentences: Number of instructions.
        turns: Number of questions.
        problems: Entries that cannot be used.
        warnings: Entries that are used, but may be a mistake.
        missing: Reason why the split does not exist; '' if it does.
    """

    split: str
    samples: int = 0
    frames: int = 0
    sentences: int = 0
    turns: int = 0
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    missing: str = ''


def check(data: DataSet, folder: Path, splits: tuple[str, ...]) -> list[Findings]:
    """Read splits of a data set, and open every image and every target.

    Raises:
        DataError: None of the splits can be read.
    """
    findings, unread = [], {}
    for split in splits:
        try:
            findings.append(_check_split(data, folder, split))
        except DataError as error:
            unread[split] = error
    if not findings:
        reasons = '; '.join(f'{split}: {error}' for split, error in unread.items())
        raise DataError(f'{folder} is not {data.name}. {reasons}. It must have:\n{data.layout}')
    return findings + [_unread(split, error) for split, error in unread.items()]


def _unread(split: str, error: DataError) -> Findings:
    if isinstance(error, MissingError):
        return Findings(split=split, missing=str(error))
    return Findings(split=split, problems=(Problem(split, str(error)),))


def _check_split(data: DataSet, folder: Path, split: str) -> Findings:
    reading = data.read(folder, split)
    problems = list(reading.problems)
    usable = []
    for sample in tqdm(reading.samples, f'{data.name} {split}', disable=None):
        found = list(_problems_of(sample))
        problems += found
        if not found:
            usable.append(sample)
    return Findings(
        split=split,
        samples=len(usable),
        frames=sum(len(sample.frames) for sample in usable),
        sentences=sum(len(sample.instructions) for sample in usable),
        turns=sum(len(sample.turns) for sample in usable),
        problems=tuple(problems),
        warnings=tuple(reading.warnings),
    )


def _problems_of(sample: Sample) -> Iterator[Problem]:
    reported: set[str] = set()  # a problem that all frames share is reported once
    for index, image in enumerate(sample.frames):
        target = sample.targets[index] if sample.targets else None
        where = f'{sample.where} frame {index}' if len(sample.frames) > 1 else sample.where
        try:
            _check_frame(image, target)
        except (OSError, ValueError) as error:
            if f'{error}' not in reported:
                yield Problem(where, str(error))
            reported.add(f'{error}')


def _check_frame(source: ImageSource, target: Target | None) -> None:
    """Open a frame and its target.

    Raises:
        OSError, ValueError: One of them is damaged, or their sizes differ.
    """
    image = source.load()
    if target is None:
        return
    height, width = target.mask().shape
    if (height, width) == (image.height, image.width):
        return
    remedy = 'masks must have the size of their image'
    if (height, width) == (image.width, image.height):
        remedy = 'masks must be rotated as their image is by its EXIF data'
    raise ValueError(
        f'a mask of {height} x {width} pixels for {source} of {image.height} x '
        f'{image.width} (height x width): {remedy}'
    )
