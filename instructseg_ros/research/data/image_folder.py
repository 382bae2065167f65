"""A user's own data: pictures, masks, and a line of JSON for each thing that has a name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from instructseg_ros.research.data.images import PictureFile
from instructseg_ros.research.data.questions import read_lines
from instructseg_ros.research.data.reading import DataSet, Reading
from instructseg_ros.research.data.sample import Kind, Sample
from instructseg_ros.research.data.synthetic import clip, save_jpeg, scene
from instructseg_ros.research.data.targets import Appearance, MaskFile, Nothing, Seen, Target

FILE: Final = 'annotations.jsonl'
_SPLITS: Final = ('train', 'val')
_KINDS: Final = {
    (False, False): Kind.IMAGE_REFERRING,
    (False, True): Kind.IMAGE_REASONING,
    (True, False): Kind.VIDEO_REFERRING,
    (True, True): Kind.VIDEO_REASONING,
}
_KEYS: Final = {
    'image',
    'mask',
    'frames',
    'masks',
    'value',
    'sentences',
    'reasoning',
    'explanation',
}
_JPEG: Final = b'\xff\xd8\xff'
LAYOUT: Final = """SPLIT/annotations.jsonl, a line for each thing:
  {"image": "images/a.jpg", "mask": "masks/a.png", "sentences": ["the red mug"]}
  or for a video {"frames": ["v/0.jpg", ...], "masks": ["v/0.png", null, ...], "sentences": [...]}
"mask": null where the thing is not there; "value": only pixels of this value are the thing;
"reasoning": true for questions; "explanation": "why it is meant"
pictures and masks in SPLIT/, masks as PNG of the picture's size, 0 where the object is absent"""


def read(folder: Path, split: str) -> Reading:
    """Read a split.

    Raises:
        DataError: its file is missing or no text.
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
        raise ValueError(f'{len(frames)} frames and {len(masks)} masks: give one for each')
    pictures = [_inside(folder, frame) for frame in frames]
    files = [None if mask is None else _inside(folder, mask) for mask in masks]
    for file in files:
        if file is not None and _is_jpeg(file):
            warn(f'{file} is a JPEG, which changes pixels near edges: save masks as PNG')
    return Sample(
        key=str(number),
        kind=_KINDS[video, bool(entry.get('reasoning', False))],
        frames=tuple(PictureFile(picture) for picture in pictures),
        targets=_targets(files, pictures, entry.get('value')),
        instructions=tuple(entry['sentences']),
        explanation=entry.get('explanation') or '',
    )


def _check(entry: Mapping[str, Any]) -> None:
    """Check the values of a line that are not files.

    Raises:
        ValueError: one is unknown or malformed; the message names the remedy.
    """
    if unknown := entry.keys() - _KEYS:
        raise ValueError(f'{min(unknown)!r} is not known; there are {", ".join(sorted(_KEYS))}')
    sentences = entry['sentences']
    if not (
        isinstance(sentences, list)
        and sentences
        and all(isinstance(each, str) and each.strip() for each in sentences)
    ):
        raise ValueError('sentences is a list of texts, at least one')
    value = entry.get('value')
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f'value is a whole number, not {value!r}')
    if not isinstance(entry.get('explanation') or '', str):
        raise ValueError(f'explanation is a text, not {entry["explanation"]!r}')


def _targets(
    files: Sequence[Path | None], pictures: Sequence[Path], value: int | None
) -> tuple[Target, ...]:
    masks = [None if file is None else MaskFile(file, value) for file in files]
    named = [mask for mask in masks if mask is not None]
    appearance = Appearance(named, _mistake([mask.path for mask in named], value))
    return tuple(
        Nothing(PictureFile(picture).size()) if mask is None else Seen(mask, appearance)
        for mask, picture in zip(masks, pictures, strict=True)
    )


def _mistake(files: Sequence[Path], value: int | None) -> str:
    """Error message for a line whose masks have no pixel."""
    names = ', '.join(map(str, files[:2])) + (', ...' if len(files) > 2 else '')
    pixels = 'is all 0'
    if value is not None:
        pixels = f'has no pixel of the value {value} (a mask of 1 bit has the values 0 and 1)'
    return f'{names} {pixels}: correct it, or name no mask (null) where the thing is not there'


def _is_jpeg(file: Path) -> bool:
    try:
        with file.open('rb') as stream:
            return stream.read(len(_JPEG)) == _JPEG
    except OSError:
        return False  # opening it as a mask reports that


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder; a name that leads out of it may be a mistake, or worse.

    Only the name counts: links in the folder are the user's own and may lead anywhere.
    """
    if not isinstance(name, str):
        raise ValueError(f'a file is named by a text, not {name!r}')
    normal = Path(os.path.normpath(name))
    if normal.is_absolute():
        inside = normal.is_relative_to(os.path.abspath(folder))
    else:
        inside = normal.parts[:1] != ('..',)
    if not inside:
        raise ValueError(f'{name} is not in {folder}')
    return folder / normal


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set: pictures, a video, and something that is not there."""
    rng = np.random.default_rng(seed)
    for split in _SPLITS:
        place = folder / split
        entries = [_write_picture(place, rng, number) for number in range(4)]
        entries.append(_write_video(place, rng))
        absent = {'image': entries[0]['image'], 'mask': None, 'sentences': ['the black star']}
        write_entries(place, [*entries, absent])


def write_entries(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Write a split's file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(''.join(f'{json.dumps(entry)}\n' for entry in entries))


def save_mask(file: Path, mask: np.ndarray) -> None:
    """Write a (H, W) bool mask, and the folders that it is in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(file)


def _write_picture(folder: Path, rng: np.random.Generator, number: int) -> dict[str, Any]:
    rgb, things = scene(rng)
    image, mask = f'images/{number}.jpg', f'masks/{number}.png'
    save_jpeg(folder / image, rgb)
    save_mask(folder / mask, things[-1].mask)
    return {'image': image, 'mask': mask, 'sentences': [f'the {things[-1].name}']}


def _write_video(folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    pictures, seen = clip(rng)
    frames = [f'video/{index}.jpg' for index in range(len(pictures))]
    masks = [f'video/{index}.png' for index in range(len(pictures))]
    for frame, mask, rgb, things in zip(frames, masks, pictures, seen, strict=True):
        save_jpeg(folder / frame, rgb)
        save_mask(folder / mask, things[0].mask)
    sentence = f'what has the colour {seen[0][0].colour}?'
    return {'frames': frames, 'masks': masks, 'sentences': [sentence], 'reasoning': True}


DATA_SETS: Final = (
    DataSet(name='folder', splits=_SPLITS, read=read, make_sample=make_sample, layout=LAYOUT),
)
