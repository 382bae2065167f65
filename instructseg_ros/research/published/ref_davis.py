"""Ref-DAVIS17: objects in DAVIS videos, described by several annotators (Khoreva et al., 2018).

The figures equal those of the official davis2017 evaluator for unsupervised predictions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from tqdm import tqdm

from instructseg_ros.research.data.dataset import Figures, MaskBenchmark, Procedure, row
from instructseg_ros.research.data.mask_files import read_prediction
from instructseg_ros.research.data.reading import DataError, Reading, read_text
from instructseg_ros.research.data.sample import ImageFile, Sample, SampleTask
from instructseg_ros.research.data.targets import MaskFile
from instructseg_ros.research.evaluation.metrics import region_and_boundary_of_frames
from instructseg_ros.streaming.image_files import is_clutter, read_labels

ANNOTATIONS: Final = ('Annotations_unsupervised/480p', 'Annotations/480p')
_SENTENCES: Final = 'davis_text_annotations'
_ANNOTATORS: Final = ('annot1', 'annot2', 'annot1_full_video', 'annot2_full_video')
_LINE: Final = re.compile(r'\s*(\S+)\s+(\d+)\s+"?(.*?)"?\s*')
# Video names that the published sentences misspell, as corrected by `create_meta_expressions` of
# ReferFormer's tools/data/convert_davis_to_ytvos.py.
_MISSPELT: Final = {
    'clasic-car': 'classic-car',
    'dog-scale': 'dogs-scale',
    'motor-bike': 'motorbike',
}
_VOID: Final = 255
_MAX_OBJECTS: Final = 20
_BINS: Final = 4

Labels = list[np.ndarray]


def read(folder: Path, split: str) -> Reading:
    """Read a split: one sample for each annotator, video and object.

    Raises:
        DataError: The list of videos, their annotations or all sentences are missing.
    """
    videos = set(read_text(_list_file(folder, split), 'latin-1').split())
    masks = _annotations(folder)
    reading = Reading()
    for annotator in _ANNOTATORS:
        file = folder / _SENTENCES / f'Davis17_{annotator}.txt'
        if file.is_file():
            _read_sentences(file, annotator, videos, folder, masks, reading)
    if not reading.samples and not reading.problems:
        raise DataError(f'{folder / _SENTENCES} has no Davis17_annot1.txt with videos of {split}')
    return reading


def _list_file(folder: Path, split: str) -> Path:
    return folder / 'ImageSets' / '2017' / f'{split}.txt'


def _annotations(folder: Path) -> Path:
    """Return the folder of the label images.

    Raises:
        DataError: There is none.
    """
    found = next((folder / each for each in ANNOTATIONS if (folder / each).is_dir()), None)
    if found is None:
        raise DataError(f'{folder} has no {ANNOTATIONS[0]}')
    return found


def _read_sentences(
    file: Path, annotator: str, videos: set[str], folder: Path, masks: Path, reading: Reading
) -> None:
    # The files of the second annotator are published in Latin-1.
    for number, line in enumerate(read_text(file, 'latin-1').split('\n'), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            reading.reject(f'{file} line {number}', 'the line is not: video object "words"')
            continue
        name, label, sentence = match.groups()
        video = _MISSPELT.get(name, name)
        if video in videos:
            words = ' '.join(sentence.split())
            read_one = partial(_sample, annotator, video, int(label), words, folder, masks)
            reading.add(f'{file} line {number}', read_one)


def _sample(
    annotator: str, video: str, label: int, sentence: str, folder: Path, masks: Path
) -> Sample:
    place = folder / 'JPEGImages' / '480p' / video
    frames = sorted(each for each in place.glob('*.jpg') if not is_clutter(each))
    if not frames:
        raise ValueError(f'JPEGImages/480p/{video} has no frames')
    return Sample(
        key=f'{annotator}/{video}/{label}',
        task=SampleTask.VIDEO_REFERRING,
        frames=tuple(ImageFile(frame) for frame in frames),
        targets=tuple(MaskFile(masks / video / f'{frame.stem}.png', label) for frame in frames),
        instructions=(sentence,),
        joined=True,
        group=annotator,
        details={'video': video, 'names': tuple(frame.stem for frame in frames)},
    )


def score_davis(truth: Path, predictions: Path, split: str | None = None) -> Figures:
    """Score label images; predicted and true objects are matched to maximise the mean of J and F.

    Args:
        truth: Folder of the data set.
        predictions: Folder with `VIDEO/FRAME.png`, where each pixel has the number of its object;
            or folder with one such folder per annotator, over which the figures are averaged.
        split: Split of the data set, by default `val`.

    Returns:
        `J&F-Mean`, and mean, recall and decay of J and F, 0 to 1; and `objects`, the means of each
        object. For several annotators, `annotators` has all of this for each of them, and replaces
        `objects`.

    Raises:
        DataError: The list of videos or the annotations are missing.
        ValueError: A prediction is damaged, of the wrong size, or has too many objects.
        FileNotFoundError: A prediction is missing.
    """
    videos = read_text(_list_file(truth, split or 'val'), 'latin-1').split()
    folders = [predictions]
    if not any((predictions / video).is_dir() for video in videos):
        inside = (each for each in predictions.iterdir() if not is_clutter(each))
        folders = sorted(each for each in inside if each.is_dir())
    scores = {each.name: _score_all(_annotations(truth), each, videos) for each in folders}
    if not scores:
        raise DataError(f'{predictions} has no folder of a video')
    if len(scores) == 1:
        return next(iter(scores.values()))
    names = [name for name in next(iter(scores.values())) if name != 'objects']
    means = {name: float(np.mean([each[name] for each in scores.values()])) for name in names}
    return {**means, 'annotators': scores}


def _score_all(truth: Path, predictions: Path, videos: Sequence[str]) -> Figures:
    rows, objects = [], {}
    for video in tqdm(videos, 'scoring', disable=None):
        regions, boundaries = _score_video(truth / video, predictions / video)
        for number, (region, boundary) in enumerate(zip(regions, boundaries, strict=True), 1):
            values = [*_statistics(region), *_statistics(boundary)]
            rows.append(values)
            objects[f'{video}_{number}'] = {'J-Mean': values[0], 'F-Mean': values[3]}
    means = np.mean(rows, axis=0).tolist()
    names = [f'{letter}-{name}' for letter in 'JF' for name in ('Mean', 'Recall', 'Decay')]
    figures = dict(zip(names, means, strict=True))
    return {'J&F-Mean': (means[0] + means[3]) / 2, **figures, 'objects': objects}


def _score_video(truth: Path, predictions: Path) -> tuple[np.ndarray, np.ndarray]:
    """Match predicted to true objects; return (objects, frames) J and F, by predicted object."""
    from scipy.optimize import linear_sum_assignment

    files = sorted(each for each in truth.glob('*.png') if not is_clutter(each))
    if not files:
        raise DataError(f'{truth} has no *.png')
    true = [read_labels(file) for file in files]
    found = [
        np.where(
            labels == _VOID, 0, read_prediction(read_labels, predictions / file.name, labels.shape)
        )
        for file, labels in zip(files, true, strict=True)
    ]
    count = max(int(labels[labels != _VOID].max(initial=0)) for labels in true)
    proposals = max(count, max(int(labels.max()) for labels in found))
    if proposals > _MAX_OBJECTS:
        raise ValueError(f'{predictions} has {proposals} objects; the maximum is {_MAX_OBJECTS}')
    table = np.array(
        [
            [_compare(found, true, mine, theirs) for theirs in range(1, count + 1)]
            for mine in range(1, proposals + 1)
        ]
    )
    rows, columns = linear_sum_assignment(-table.mean(axis=(2, 3)))
    chosen = table[rows, columns]
    return chosen[:, 0], chosen[:, 1]


def _compare(found: Labels, true: Labels, mine: int, theirs: int) -> np.ndarray:
    """Compute (2, frames) J and F of a predicted object against a true one."""
    return region_and_boundary_of_frames(
        [labels == mine for labels in found], [labels == theirs for labels in true]
    )


def _statistics(values: np.ndarray) -> tuple[float, float, float]:
    """Compute mean, recall and decay (first quarter minus last) of (frames,) values."""
    ends = np.round(np.linspace(1, len(values), _BINS + 1) + 1e-10).astype(int) - 1
    quarters = [values[ends[i] : ends[i + 1] + 1].mean() for i in range(_BINS)]
    return float(values.mean()), float((values > 0.5).mean()), float(quarters[0] - quarters[-1])


DATA_SETS: Final = (
    MaskBenchmark(
        name='ref-davis17',
        splits=('val', 'train'),
        read=read,
        layout='ImageSets/2017/SPLIT.txt\nJPEGImages/480p/VIDEO/*.jpg\n'
        f'{ANNOTATIONS[0]}/VIDEO/*.png (or {ANNOTATIONS[1]})\n'
        f'{_SENTENCES}/Davis17_annot1.txt, and those of other annotators',
        procedure=Procedure.VIDEO_LABELS,
        score=score_davis,
        published={'J&F-Mean': {'val': row(71.1, ReferFormer=61.1, VISA_13B=70.4)}},
    ),
)
