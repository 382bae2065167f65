"""ReVOS: videos with sentences that refer and sentences that take thought (spec 7.3)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.data.images import PictureFile
from instructseg_ros.research.data.reading import DataSet, Reading, read_table, read_videos
from instructseg_ros.research.data.sample import Kind, Sample
from instructseg_ros.research.data.synthetic import clip, save_jpeg
from instructseg_ros.research.data.targets import Nothing, RunLengths, Target, Union
from instructseg_ros.video.rle import encode_mask

_SPLITS: Final = ('valid', 'train')
_MASKS: Final = 'mask_dict.json'
_PLACES: Final = ('JPEGImages', '.')
# By the benchmark's type of a sentence; of other types there is no summary.
GROUPS: Final = {0: 'referring', 1: 'reasoning'}


def read(folder: Path, split: str) -> Reading:
    """Read a split: one sample for each video and sentence.

    Raises:
        DataError: a file is missing or damaged.
    """
    file = folder / f'meta_expressions_{split}_.json'
    videos = read_videos(file)
    masks = read_table(folder / _MASKS)
    places = [folder / place for place in _PLACES]
    # Scoring needs no frames.
    frames = next((p for p in places if any((p / name).is_dir() for name in videos)), places[0])
    reading = Reading()
    for name, video in videos.items():
        with reading.noting(f'{file} {name}'):
            for number, expression in video['expressions'].items():
                read_one = partial(_sample, name, number, video, expression, masks, frames)
                reading.add(f'{file} {name} {number}', read_one)
    return reading


def _sample(
    name: str,
    number: str,
    video: Mapping[str, Any],
    expression: Mapping[str, Any],
    masks: Mapping[str, Sequence[Any]],
    frames: Path,
) -> Sample:
    size = (int(video['height']), int(video['width']))
    annotations = [_annotation(masks, each) for each in expression['anno_id']]
    return Sample(
        key=f'{name}/{number}',
        # Also of sentences that refer: `Reason_VOS_dataset` of the authors' InstructSegDatasets.py
        # has one prompt for all.
        kind=Kind.VIDEO_REASONING,
        frames=tuple(PictureFile(frames / name / f'{frame}.jpg') for frame in video['frames']),
        targets=tuple(
            _target([annotation[index] for annotation in annotations], size)
            for index in range(len(video['frames']))
        ),
        instructions=(expression['exp'].strip().replace('(s)', ''),),
        verbatim=True,
        group=GROUPS.get(int(expression['type_id']), ''),
        details={'video': name, 'expression': number, 'names': tuple(video['frames'])},
    )


def _annotation(masks: Mapping[str, Sequence[Any]], number: Any) -> Sequence[Any]:
    if str(number) not in masks:
        raise ValueError(f'{_MASKS} has no annotation {number}')
    return masks[str(number)]


def _target(runs: Sequence[Mapping[str, Any] | None], size: tuple[int, int]) -> Target:
    parts = tuple(RunLengths.parse(each) for each in runs if each is not None)
    if any(part.size != size for part in parts):
        raise ValueError(f'{_MASKS} has masks of other sizes than {size}, that of the video')
    return Union(parts) if parts else Nothing(size)


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set: frames, sentences, and run lengths of every thing and of all together."""
    rng = np.random.default_rng(seed)
    masks: dict[str, list[Any]] = {}
    foreground: dict[str, Any] = {}
    for split in _SPLITS:
        videos = {}
        for number in range(2):
            name = f'{split}/clip{number}'
            videos[name] = _make_video(folder, name, number, rng, masks, foreground)
        file = folder / f'meta_expressions_{split}_.json'
        file.write_text(json.dumps({'videos': videos}))
    (folder / _MASKS).write_text(json.dumps(masks))
    (folder / 'mask_dict_foreground.json').write_text(json.dumps(foreground))


def _make_video(
    folder: Path,
    name: str,
    number: int,
    rng: np.random.Generator,
    masks: dict[str, list[Any]],
    foreground: dict[str, Any],
) -> dict[str, Any]:
    pictures, seen = clip(rng)
    names = [f'{index:05}' for index in range(len(pictures))]
    for frame, rgb in zip(names, pictures, strict=True):
        save_jpeg(folder / _PLACES[0] / name / f'{frame}.jpg', rgb)
    start = len(masks)
    for place in range(len(seen[0])):
        masks[str(start + place)] = [encode_mask(things[place].mask) for things in seen]
    together = [np.logical_or.reduce([thing.mask for thing in things]) for things in seen]
    foreground[name] = {'masks_rle': [encode_mask(mask) for mask in together]}
    first, second = seen[0]
    sentences = [
        (f'the {first.name}', [start], 0),
        (f'what has the colour {second.colour}?', [start + 1], 1),
        ('everything that is not the ground(s)', [start, start + 1], 1),
    ]
    return {
        'frames': names,
        'height': pictures[0].shape[0],
        'width': pictures[0].shape[1],
        'vid_id': number,
        'expressions': {
            str(index): {
                'exp': text,
                'obj_id': [each - start for each in things],
                'anno_id': things,
                'type_id': kind,
            }
            for index, (text, things, kind) in enumerate(sentences)
        },
    }


DATA_SETS: Final = (
    DataSet(
        name='revos',
        splits=_SPLITS,
        read=read,
        make_sample=make_sample,
        layout='meta_expressions_valid_.json, meta_expressions_train_.json\n'
        'mask_dict.json, mask_dict_foreground.json\n'
        'JPEGImages/VIDEO/*.jpg (or VIDEO/*.jpg)',
    ),
)
