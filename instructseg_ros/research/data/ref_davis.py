"""Ref-DAVIS17: the things of DAVIS' videos in the words of several annotators (spec 7.5)."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from instructseg_ros.research.data.images import PictureFile
from instructseg_ros.research.data.reading import DataError, DataSet, Problem, Reading, read_text
from instructseg_ros.research.data.ref_youtube_vos import save_labels
from instructseg_ros.research.data.sample import Kind, Sample
from instructseg_ros.research.data.synthetic import clip, save_jpeg
from instructseg_ros.research.data.targets import MaskFile
from instructseg_ros.streaming.image_files import is_clutter

_SPLITS: Final = ('val', 'train')
_SENTENCES: Final = 'davis_text_annotations'
_ANNOTATORS: Final = ('annot1', 'annot2', 'annot1_full_video', 'annot2_full_video')
_LINE: Final = re.compile(r'\s*(\S+)\s+(\d+)\s+"?(.*?)"?\s*')
# Names of videos that the published sentences misspell; others' converters know them as well
# (`create_meta_expressions` of ReferFormer's tools/data/convert_davis_to_ytvos.py).
_MISSPELT: Final = {
    'clasic-car': 'classic-car',
    'dog-scale': 'dogs-scale',
    'motor-bike': 'motorbike',
}
ANNOTATIONS: Final = ('Annotations_unsupervised/480p', 'Annotations/480p')


def read(folder: Path, split: str) -> Reading:
    """Read a split: one sample for each annotator, video and thing.

    Raises:
        DataError: the list of videos, their annotations or all sentences are missing.
    """
    listed = folder / 'ImageSets' / '2017' / f'{split}.txt'
    videos = set(read_text(listed, 'latin-1').split())
    masks = annotations_of(folder)
    reading = Reading()
    for annotator in _ANNOTATORS:
        file = folder / _SENTENCES / f'Davis17_{annotator}.txt'
        if file.is_file():
            _read_sentences(file, annotator, videos, folder, masks, reading)
    if not reading.samples and not reading.problems:
        raise DataError(f'{folder / _SENTENCES} has no Davis17_annot1.txt with videos of {split}')
    return reading


def annotations_of(folder: Path) -> Path:
    """The folder of a DAVIS set's label pictures.

    Raises:
        DataError: there is none.
    """
    found = next((folder / each for each in ANNOTATIONS if (folder / each).is_dir()), None)
    if found is None:
        raise DataError(f'{folder} has no {ANNOTATIONS[0]}')
    return found


def _read_sentences(
    file: Path, annotator: str, videos: set[str], folder: Path, masks: Path, reading: Reading
) -> None:
    # The second annotator's files are published in Latin-1.
    for number, line in enumerate(read_text(file, 'latin-1').split('\n'), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            reading.problems.append(Problem(f'{file} line {number}', 'no video, object, "words"'))
            continue
        name, thing, sentence = match.groups()
        video = _MISSPELT.get(name, name)
        if video in videos:
            words = ' '.join(sentence.split())
            read_one = partial(_sample, annotator, video, int(thing), words, folder, masks)
            reading.add(f'{file} line {number}', read_one)


def _sample(
    annotator: str, video: str, thing: int, sentence: str, folder: Path, masks: Path
) -> Sample:
    place = folder / 'JPEGImages' / '480p' / video
    frames = sorted(each for each in place.glob('*.jpg') if not is_clutter(each))
    if not frames:
        raise ValueError(f'JPEGImages/480p/{video} has no frames')
    return Sample(
        key=f'{annotator}/{video}/{thing}',
        kind=Kind.VIDEO_REFERRING,
        frames=tuple(PictureFile(frame) for frame in frames),
        targets=tuple(MaskFile(masks / video / f'{frame.stem}.png', thing) for frame in frames),
        instructions=(sentence,),
        joined=True,
        group=annotator,
        details={
            'video': video,
            'expression': str(thing),
            'names': tuple(frame.stem for frame in frames),
        },
    )


def make_sample(folder: Path, seed: int) -> None:
    """Write a tiny set in the published layout, with two annotators."""
    rng = np.random.default_rng(seed)
    lines: dict[str, list[str]] = {annotator: [] for annotator in _ANNOTATORS[:2]}
    for split in _SPLITS:
        names = [f'{split}-{number}' for number in range(2)]
        listed = folder / 'ImageSets' / '2017' / f'{split}.txt'
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text('\n'.join(names) + '\n')
        for name in names:
            pictures, seen = clip(rng)
            for index, (rgb, things) in enumerate(zip(pictures, seen, strict=True)):
                save_jpeg(folder / 'JPEGImages' / '480p' / name / f'{index:05}.jpg', rgb)
                save_labels(folder / ANNOTATIONS[0] / name / f'{index:05}.png', things)
            for number, thing in enumerate(seen[0], start=1):
                lines['annot1'].append(f'{name} {number} "a {thing.name}"')
                lines['annot2'].append(f'{name} {number} "the {thing.kind} in {thing.colour}"')
    for annotator, text in lines.items():
        file = folder / _SENTENCES / f'Davis17_{annotator}.txt'
        file.parent.mkdir(exist_ok=True)
        file.write_text('\n'.join(text) + '\n')


DATA_SETS: Final = (
    DataSet(
        name='ref-davis17',
        splits=_SPLITS,
        read=read,
        make_sample=make_sample,
        layout='ImageSets/2017/SPLIT.txt\nJPEGImages/480p/VIDEO/*.jpg\n'
        f'{ANNOTATIONS[0]}/VIDEO/*.png (or {ANNOTATIONS[1]})\n'
        f'{_SENTENCES}/Davis17_annot1.txt, and of other annotators',
    ),
)
