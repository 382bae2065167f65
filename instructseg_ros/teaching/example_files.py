"""Reads labelled photographs of objects in any supported format, which it recognises itself."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from instructseg_ros.research.data.dataset import data_set
from instructseg_ros.research.data.image_folder import FILE
from instructseg_ros.research.data.reading import DataError, Reading, read_json
from instructseg_ros.research.data.sample import Sample, SampleTask
from instructseg_ros.research.data.targets import Target
from instructseg_ros.streaming.image_files import is_clutter
from instructseg_ros.teaching.annotated_image import (
    AnnotatedImage,
    NameFilter,
    Region,
    normalize_name,
    to_example,
)
from instructseg_ros.teaching.annotation_tools import LABELME, READERS, recognise_tool
from instructseg_ros.teaching.examples import Example

FORMATS: Final = """- labelme: a folder with IMAGE.json next to each IMAGE
- VGG Image Annotator (VIA): a project or an export in JSON, next to the images
- COCO JSON, next to the images, or in annotations/ with the images in images/
- annotations.jsonl of a folder with images and masks, see docs/your_data.md
- a bag of images and label images, with labels.yaml, see docs/your_data.md"""
MAX_FRAMES: Final = 60  # of all videos or of a bag; neighbouring frames teach little
_MAX_LISTED: Final = 10  # problems or names in a message
_BAG_FILES: Final = ('labels.yaml', 'metadata.yaml')
_JSON_FOLDERS: Final = ('', 'annotations', 'train')
_QUESTIONS: Final = (SampleTask.IMAGE_REASONING, SampleTask.VIDEO_REASONING)
_NAMES_AN_OBJECT: Final = re.compile(
    r'\s*(?:an?|the|every|each|all(?: of)?(?: the)?)\s+(.*\S)\s*', re.IGNORECASE | re.DOTALL
)


def read_examples(path: Path, names: Sequence[str] = ()) -> list[Example]:
    """Read labelled images; `FORMATS` lists the formats.

    Args:
        path: Folder or file.
        names: Nouns of the objects to keep, in singular or plural; empty: all objects. Images
            without any of them remain as examples without objects.

    Returns:
        An example for each image, at most `MAX_SIDE` pixels wide and high, and for at most
        `MAX_FRAMES` frames of videos. The names of objects are in lower case, and in singular if
        `names` or the data contain the singular.

    Raises:
        DataError: The format is unknown, something is missing or damaged, or no object has one of
            the names; the message says how to fix it.
    """
    reading = Reading()
    images = _thin_out(_read_images(path, reading))
    wanted = NameFilter(names)
    if not reading.problems:
        _check_names(path, images, names)
    examples = []
    for image in images:
        with reading.noting(str(image.image)):
            examples.append(to_example(image, wanted, reading))
    if reading.problems:
        problems = _listed(map(str, reading.problems), '\n  ')
        raise DataError(f'{path} cannot be used:\n  {problems}')
    return examples


def _check_names(path: Path, images: Iterable[AnnotatedImage], names: Sequence[str]) -> None:
    """Check that an object has one of the names.

    Raises:
        DataError: None has; the message lists the names in the data.
    """
    wanted = NameFilter(names)
    found = [region.nouns for image in images for region in image.regions if region.nouns]
    if any(wanted.choose(nouns) for nouns in found):
        return
    if not found:
        raise DataError(f'{path} labels no objects: label at least one with its name')
    labelled = _listed(map(repr, sorted({normalize_name(nouns[0]) for nouns in found})), ', ')
    raise DataError(
        f'{path} labels no {" or ".join(map(repr, names))}, but {labelled}: '
        f'use one of these names, or correct the labels'
    )


def _listed(texts: Iterable[str], separator: str) -> str:
    texts = list(texts)
    more = [f'and {len(texts) - _MAX_LISTED} more'] if len(texts) > _MAX_LISTED else []
    return separator.join(texts[:_MAX_LISTED] + more)


def _thin_out(images: list[AnnotatedImage]) -> list[AnnotatedImage]:
    """Keep all photographs and, at equal distances, at most `MAX_FRAMES` frames of videos."""
    frames = [image for image in images if image.video]
    step = max(1, math.ceil(len(frames) / MAX_FRAMES))
    return [image for image in images if not image.video] + frames[::step]


def _read_images(path: Path, reading: Reading) -> list[AnnotatedImage]:
    """Recognise the format and read it, without decoding an image.

    Raises:
        DataError: The format is unknown, or nothing can be read.
    """
    if not path.exists():
        raise DataError(f'{path} is missing: name a folder or a file with labelled images')
    if path.name == FILE:
        path = path.parent
    for folder in (path, path / 'train'):
        if (folder / FILE).is_file():
            return _read_samples('folder', folder, '', reading)
        if any((folder / name).is_file() for name in _BAG_FILES):
            return _read_samples('bag', folder, '', reading)
    folders = [path / name for name in _JSON_FOLDERS] if path.is_dir() else []
    for files in [[path]] if path.is_file() else map(_json_files, folders):
        if images := _read_json_files(files, reading):
            return images
    if reading.problems:
        return []
    raise DataError(f'{path} has no labelled images in a known format, which are:\n{FORMATS}')


def _json_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob('*.json') if not is_clutter(file))


def _read_json_files(files: Sequence[Path], reading: Reading) -> list[AnnotatedImage]:
    """Read all files of labelme, or the only file of another program.

    Raises:
        DataError: There are several files of other programs.
    """
    images: list[AnnotatedImage] = []
    tools: dict[Path, str] = {}
    for file in files:
        with reading.noting(file.name):
            content = read_json(file)
            if tool := recognise_tool(content):
                tools[file] = tool
                images += READERS[tool](file, content, reading)
    if len(tools) > 1 and set(tools.values()) != {LABELME}:
        choice = _listed((f'{file.name} ({tool})' for file, tool in tools.items()), ', ')
        raise DataError(f'{files[0].parent} has several annotation files: name one of {choice}')
    return images


def _read_samples(
    data_name: str, folder: Path, split: str, reading: Reading
) -> list[AnnotatedImage]:
    """Read a data set of the package: the lines of a folder, or the labels of a bag."""
    content = data_set(data_name).read(folder, split)
    reading.problems += content.problems
    images: dict[str, AnnotatedImage] = {}
    for sample in content.samples:
        for frame, target in zip(sample.frames, sample.targets, strict=True):
            annotated = AnnotatedImage(
                image=frame,
                source=str(frame).removeprefix(f'{folder}/').removeprefix(f'{folder} '),
                video=sample.task.is_video,
            )
            if target is not None:
                region = _region(sample, target)
                images.setdefault(str(frame), annotated).regions.append(region)
    return [*images.values()]


def _region(sample: Sample, target: Target) -> Region:
    nouns = () if sample.task in _QUESTIONS else tuple(_nouns(sample.instructions))
    return Region(
        nouns=nouns, draw=lambda size: target.mask(), where=sample.where, may_be_empty=True
    )


def _nouns(sentences: Iterable[str]) -> Iterator[str]:
    """Yield NAME for sentences such as "the NAME", "a NAME" and "all the NAMEs"."""
    for sentence in sentences:
        if found := _NAMES_AN_OBJECT.fullmatch(sentence):
            yield found[1].rstrip('.!')


def select(
    examples: Sequence[Example], wanted: Sequence[str]
) -> tuple[list[Example], list[Example]]:
    """Split examples into chosen ones and the others, both in the given order.

    Args:
        examples: The examples.
        wanted: COCO ids of images or, where no image has this id, file names with or without
            folder and suffix.

    Returns:
        The chosen examples, and the others.

    Raises:
        ValueError: An entry of `wanted` fits no example.
    """
    sources = [example.source for example in examples]
    found = {entry: _find(entry, sources) for entry in wanted}
    if unknown := [repr(entry) for entry, numbers in found.items() if not numbers]:
        raise ValueError(
            f'no image is called {" or ".join(unknown)}; the images are {_listed(sources, ", ")}'
        )
    chosen = {number for numbers in found.values() for number in numbers}
    inside = [example for number, example in enumerate(examples) if number in chosen]
    return inside, [example for number, example in enumerate(examples) if number not in chosen]


def _find(entry: str, sources: Sequence[str]) -> list[int]:
    """Return the indices of the sources with a COCO id or, if there are none, with a file name."""
    ids, named = [], []
    for number, source in enumerate(sources):
        file, _, identity = source.partition(' (image ')
        if identity == f'{entry})':
            ids.append(number)
        if entry in (source, file, Path(file).name, Path(file).stem):
            named.append(number)
    return ids or named
