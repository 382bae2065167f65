"""What is missing or broken in a data set, found by opening all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from instructseg_ros.research.data.images import Picture
from instructseg_ros.research.data.reading import DataError, DataSet, MissingError, Problem
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.data.targets import Target


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """What a split of a data set holds.

    Args:
        split: its name.
        samples, frames, sentences, turns: that can be used.
        problems: what cannot.
        warnings: what can, although it may be a mistake.
        missing: the file without which there is no such split here, in words.
    """

    split: str
    samples: int
    frames: int
    sentences: int
    turns: int
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    missing: str = ''


def check(data: DataSet, folder: Path, splits: tuple[str, ...]) -> list[Findings]:
    """Read splits of a data set, and open every picture and every target.

    Raises:
        DataError: none of the splits can be read.
    """
    findings, unread = [], {}
    for split in splits:
        try:
            findings.append(_check_split(data, folder, split))
        except DataError as error:
            unread[split] = error
    if not findings:
        reasons = '; '.join(f'{split}: {error}' for split, error in unread.items())
        raise DataError(f'{folder} is not {data.name}. {reasons}. It has:\n{data.layout}')
    return findings + [_unread(split, error) for split, error in unread.items()]


def _unread(split: str, error: DataError) -> Findings:
    missing = isinstance(error, MissingError)
    return Findings(
        split=split,
        samples=0,
        frames=0,
        sentences=0,
        turns=0,
        problems=() if missing else (Problem(split, str(error)),),
        missing=str(error) if missing else '',
    )


def _check_split(data: DataSet, folder: Path, split: str) -> Findings:
    reading = data.read(folder, split)
    problems = list(reading.problems)
    whole = []
    for sample in tqdm(reading.samples, f'{data.name} {split}', disable=None):
        found = list(_problems_of(sample))
        problems += found
        if not found:
            whole.append(sample)
    return Findings(
        split=split,
        samples=len(whole),
        frames=sum(len(sample.frames) for sample in whole),
        sentences=sum(len(sample.instructions) for sample in whole),
        turns=sum(len(sample.turns) for sample in whole),
        problems=tuple(problems),
        warnings=tuple(reading.warnings),
    )


def _problems_of(sample: Sample) -> Iterator[Problem]:
    said: set[str] = set()  # a problem of all frames is reported once
    for index, picture in enumerate(sample.frames):
        target = sample.targets[index] if sample.targets else None
        where = f'{sample.where} frame {index}' if len(sample.frames) > 1 else sample.where
        try:
            _check_frame(picture, target)
        except (OSError, ValueError) as error:
            if f'{error}' not in said:
                yield Problem(where, str(error))
            said.add(f'{error}')


def _check_frame(picture: Picture, target: Target | None) -> None:
    """Open a frame and its target.

    Raises:
        OSError, ValueError: one of them is damaged, or they do not fit each other.
    """
    image = picture.load()
    if target is None:
        return
    height, width = target.mask().shape
    if (height, width) == (image.height, image.width):
        return
    remedy = 'masks have the size of their picture'
    if (height, width) == (image.width, image.height):
        remedy = 'masks are turned as their picture is by its EXIF data'
    raise ValueError(
        f'a mask of {height} x {width} pixels for {picture} of {image.height} x '
        f'{image.width} (height x width): {remedy}'
    )
