"""Reads a user's data as a folder of images and masks, with a line of JSON for each object."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.data.dataset import MaskBenchmark, Procedure
from instructseg_ros.research.data.reading import Reading, checked_texts, read_lines
from instructseg_ros.research.data.sample import ImageFile, Sample, SampleTask
from instructseg_ros.research.data.synthetic import clip, save_jpeg, scene
from instructseg_ros.research.data.targets import (
    Appearance,
    CheckedTarget,
    EmptyMask,
    MaskFile,
    Target,
)
from instructseg_ros.research.evaluation.mask_scores import score_sentences
from instructseg_ros.streaming.image_files import write_mask

FILE: Final = 'annotations.jsonl'
_SPLITS: Final = ('train', 'val')
_TASKS: Final = {
    (False, False): SampleTask.IMAGE_REFERRING,
    (False, True): SampleTask.IMAGE_REASONING,
    (True, False): SampleTask.VIDEO_REFERRING,
    (True, True): SampleTask.VIDEO_REASONING,
}
_KEYS = {'image', 'mask', 'frames', 'masks', 'value', 'sentences', 'reasoning', 'explanation'}
_JPEG: Final = b'\xff\xd8\xff'
LAYOUT: Final = """SPLIT/annotations.jsonl, a line for each object:
  {"image": "images/a.jpg", "mask": "masks/a.png", "sentences": ["the red mug"]}
  or for a video {"frames": ["v/0.jpg", ...], "masks": ["v/0.png", null, ...], "sentences": [...]}
"mask": null if the object is absent; "value": only pixels of this value belong to the object;
"reasoning": true for questions; "explanation": "why it is meant"
images and masks in SPLIT/, masks as PNG of the image's size, 0 outside the object"""


def read(folder: Path, split: str) -> Reading:
    """Read a split.

    Raises:
        DataError: Its file is missing or not text.
    """
    file = folder / split / FILE
    reading = Reading()
    for number, (where, entry) in enumerate(read_lines(file, reading), start=1):
        warn = partial(reading.warn, where)
        reading.add(where, partial(_sample, entry, number, file.parent, warn))
    return reading


def _sample(
    entry: Mapping[str, Any], number: int, folder: Path, warn: Callable[[str], None]
) -> Sample:
    _check(entry)
    video = 'frames' in entry
    frames = entry['frames'] if video else [entry['image']]
    masks = entry['masks'] if video else [entry['mask']]
    if not frames or len(frames) != len(masks):
        raise ValueError(f'{len(frames)} frames and {len(masks)} masks: give each frame one mask')
    images = [_inside(folder, frame) for frame in frames]
    files = [None if mask is None else _inside(folder, mask) for mask in masks]
    for file in files:
        if file is not None and _is_jpeg(file):
            warn(f'{file} is a JPEG, which changes pixels near edges: save masks as PNG')
    return Sample(
        key=str(number),
        task=_TASKS[video, bool(entry.get('reasoning', False))],
        frames=tuple(ImageFile(image) for image in images),
        targets=_targets(files, images, entry.get('value')),
        instructions=checked_texts(entry['sentences'], 'sentences'),
        explanation=entry.get('explanation') or '',
    )


def _check(entry: Mapping[str, Any]) -> None:
    """Check the keys of a line, and its values except file names and sentences.

    Raises:
        ValueError: A value is unknown or malformed; the message says how to fix it.
    """
    if unknown := entry.keys() - _KEYS:
        valid = ', '.join(sorted(_KEYS))
        raise ValueError(f'{min(unknown)!r} is an unknown key; valid keys are {valid}')
    value = entry.get('value')
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f'value must be a whole number, not {value!r}')
    if not isinstance(entry.get('explanation') or '', str):
        raise ValueError(f'explanation must be a text, not {entry["explanation"]!r}')


def _targets(
    files: Sequence[Path | None], images: Sequence[Path], value: int | None
) -> tuple[Target, ...]:
    masks = [None if file is None else MaskFile(file, value) for file in files]
    named = [mask for mask in masks if mask is not None]
    appearance = Appearance(named, _mistake([mask.path for mask in named], value))
    return tuple(
        EmptyMask(ImageFile(image).size()) if mask is None else CheckedTarget(mask, appearance)
        for mask, image in zip(masks, images, strict=True)
    )


def _mistake(files: Sequence[Path], value: int | None) -> str:
    """Return the error message for a line whose masks have no pixel."""
    names = ', '.join(map(str, files[:2])) + (', ...' if len(files) > 2 else '')
    pixels = 'is all 0'
    if value is not None:
        pixels = f'has no pixel of the value {value} (a mask of 1 bit has the values 0 and 1)'
    return f'{names} {pixels}: correct it, or name no mask (null) where the object is absent'


def _is_jpeg(file: Path) -> bool:
    try:
        with file.open('rb') as stream:
            return stream.read(len(_JPEG)) == _JPEG
    except OSError:
        return False  # reported when it is opened as a mask


def _inside(folder: Path, name: str) -> Path:
    """Return a file in the folder; refuse names that lead out of it.

    Only the name counts: links in the folder may lead anywhere.
    """
    if not isinstance(name, str):
        raise ValueError(f'a file name must be a text, not {name!r}')
    normal = Path(os.path.normpath(name))
    if normal.is_absolute():
        inside = normal.is_relative_to(os.path.abspath(folder))
    else:
        inside = normal.parts[:1] != ('..',)
    if not inside:
        raise ValueError(f'{name} is not in {folder}')
    return folder / normal


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set of all tasks: images, a video, an absent object, and an explanation."""
    rng = np.random.default_rng(seed)
    for split in _SPLITS:
        place = folder / split
        entries = [_write_image(place, rng, number) for number in range(4)]
        entries[3] |= {
            'explanation': f'It is {entries[3]["sentences"][0]}, which covers the others.',
            'sentences': ['what is in front of the others?'],
            'reasoning': True,
        }
        entries += _write_video(place, rng)
        entries.append(entries[0] | {'mask': None, 'sentences': ['the black star']})
        write_entries(place, entries)


def write_entries(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Write the `annotations.jsonl` of a split."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(''.join(f'{json.dumps(entry)}\n' for entry in entries))


def _write_image(folder: Path, rng: np.random.Generator, number: int) -> dict[str, Any]:
    rgb, shapes = scene(rng)
    image, mask = f'images/{number}.jpg', f'masks/{number}.png'
    save_jpeg(folder / image, rgb)
    write_mask(folder / mask, shapes[-1].mask)
    return {'image': image, 'mask': mask, 'sentences': [f'the {shapes[-1].name}']}


def _write_video(folder: Path, rng: np.random.Generator) -> list[dict[str, Any]]:
    images, seen = clip(rng)
    frames = [f'video/{index}.jpg' for index in range(len(images))]
    masks = [f'video/{index}.png' for index in range(len(images))]
    for frame, mask, rgb, shapes in zip(frames, masks, images, seen, strict=True):
        save_jpeg(folder / frame, rgb)
        write_mask(folder / mask, shapes[0].mask)
    video = {'frames': frames, 'masks': masks}
    question = f'what has the color {seen[0][0].color}?'
    return [
        video | {'sentences': [question], 'reasoning': True},
        video | {'sentences': [f'the {seen[0][0].name}']},
    ]


DATA_SETS: Final = (
    MaskBenchmark(
        name='folder',
        splits=_SPLITS,
        preferred=('val', 'train'),
        read=read,
        make_sample=make_sample,
        procedure=Procedure.ROBOT,
        score=partial(score_sentences, 'folder'),
        layout=LAYOUT,
    ),
)
