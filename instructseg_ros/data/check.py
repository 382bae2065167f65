"""What is missing or broken in a data set, found by opening all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from instructseg_ros.data.pictures import Picture
from instructseg_ros.data.reading import DataError, DataSet, MissingError, Problem
from instructseg_ros.data.sample import Sample


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """What a split of a data set holds.

    Args:
        split: its name.
        samples, frames, sentences, turns: that can be used.
        problems: what cannot.
        missing: the file without which there is no such split here, in words.
    """

    split: str
    samples: int
    frames: int
    sentences: int
    turns: int
    problems: tuple[Problem, ...]
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
    )


def _problems_of(sample: Sample) -> Iterator[Problem]:
    for index, picture in enumerate(sample.frames):
        target = sample.targets[index] if sample.targets else None
        where = f'{sample.key} frame {index}' if len(sample.frames) > 1 else sample.key
        try:
            size = _size_of(picture)
            if target is not None and target.mask().shape != size:
                yield Problem(where, f'a mask of {target.mask().shape} for a picture of {size}')
        except (OSError, ValueError) as error:
            yield Problem(where, str(error))


def _size_of(picture: Picture) -> tuple[int, int]:
    image = picture.load()
    return image.height, image.width
