"""RefCOCO, RefCOCO+ and RefCOCOg: sentences that single out one object of an image.

Two forms of the annotations are read: the authors' JSON, and the published `instances.json` with
`refs(unc).p` (RefCOCOg: `refs(umd).p`).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from instructseg_ros.research.data.dataset import Figures, MaskBenchmark, Procedure, row
from instructseg_ros.research.data.reading import (
    DataError,
    MissingError,
    Reading,
    check_file,
    read_list,
    read_lists,
)
from instructseg_ros.research.data.sample import ImageFile, Sample, SampleTask
from instructseg_ros.research.data.targets import Polygons, RunLengths, Target
from instructseg_ros.research.evaluation.mask_scores import joined_file, score_images, sentence_file

_SPLITS: Final = {
    'refcoco': ('val', 'testA', 'testB', 'train'),
    'refcoco+': ('val', 'testA', 'testB', 'train'),
    'refcocog': ('val', 'test', 'train'),
}
_SPLIT_BY: Final = {'refcoco': 'unc', 'refcoco+': 'unc', 'refcocog': 'umd'}
_INSTANCES: Final = 'instances.json'
_IMAGES: Final = ('images/train2014', 'train2014', 'images/mscoco/images/train2014')
_MAX_PICKLE_BYTES: Final = 1 << 30
# The pickle instructions that make numbers, texts, lists, tuples and dictionaries.
_PLAIN: Final = """
PROTO FRAME STOP MARK POP POP_MARK DUP PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS
"""


class _PlainUnpickler(pickle._Unpickler):
    """Reads a pickle of plain values; refuses every other pickle instruction.

    This is the standard library's unpickler in Python. The one in C cannot be restricted to some
    instructions, and does not check how much memory a malicious file asks for.
    """

    dispatch = {
        code: pickle._Unpickler.dispatch[code]
        for code in (getattr(pickle, name)[0] for name in _PLAIN.split())
    }

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f'{module}.{name} is not a plain value')


def read_plain_pickle(file: Path) -> Any:
    """Read a pickle that contains only plain values, without running any of its code.

    Raises:
        ValueError: The pickle contains something else, or is damaged.
        OSError: The file cannot be read.
    """
    if file.stat().st_size > _MAX_PICKLE_BYTES:
        raise ValueError(f'{file} has more than {_MAX_PICKLE_BYTES >> 20} MB')
    try:
        # Python 2 wrote the published files: Latin-1 decodes any of its strings.
        return _PlainUnpickler(io.BytesIO(file.read_bytes()), encoding='latin-1').load()
    except Exception as error:  # a damaged pickle raises errors of many types
        raise ValueError(
            f'{file} is damaged, or contains more than plain values. Convert it, if you trust '
            'it: json.dump(pickle.load(file), open("refs.json", "w")), and use refs.json instead'
        ) from error


def read(name: str, folder: Path, split: str) -> Reading:
    """Read a split.

    Args:
        name: `refcoco`, `refcoco+` or `refcocog`.
        folder: Folder of the data set.
        split: Name of the split.

    Raises:
        DataError: Neither form of the annotations exists, or a file is damaged.
    """
    images = next((folder / each for each in _IMAGES if (folder / each).is_dir()), None)
    if images is None:
        raise DataError(f"{folder} has no {_IMAGES[0]}: put COCO's train2014 images there")
    authors = folder / name / f'{name}_{split}.json'
    if authors.is_file():
        return _read_authors(authors, images)
    refs = folder / name / f'refs({_SPLIT_BY[name]})'
    if (folder / name / _INSTANCES).is_file():
        return _read_published(folder / name, refs, split, images)
    raise MissingError(f'{folder} has neither {name}/{authors.name} nor {name}/{_INSTANCES}')


def _read_authors(file: Path, images: Path) -> Reading:
    reading = Reading()
    for index, item in enumerate(read_list(file)):
        reading.add(f'{file} entry {index}', partial(_authors_sample, item, index, images))
    return reading


def _authors_sample(item: Mapping[str, Any], index: int, images: Path) -> Sample:
    info = item['image_info']
    [annotation] = item['anns']
    return _sample(
        key=str(index),
        image=images / Path(info['file_name']).name,
        target=_target(annotation['segmentation'], info),
        sentences=[each['sent'] for each in item['instruction']],
    )


def _read_published(folder: Path, refs: Path, split: str, images: Path) -> Reading:
    reading = Reading()
    instances = folder / _INSTANCES
    listed, annotated = read_lists(instances, 'images', 'annotations')
    infos = _by_id(listed, f'{instances} images', reading)
    annotations = _by_id(annotated, f'{instances} annotations', reading)
    converted = refs.with_name('refs.json')
    file = converted if converted.is_file() else refs.with_name(f'{refs.name}.p')
    for index, ref in enumerate(_read_refs(file)):
        where = f'{file} entry {index}'
        with reading.noting(where):
            if ref['split'] == split:
                reading.add(where, partial(_published_sample, ref, infos, annotations, images))
    return reading


def _by_id(entries: Sequence[Any], where: str, reading: Reading) -> dict[Any, Mapping[str, Any]]:
    by_id = {}
    for index, entry in enumerate(entries):
        with reading.noting(f'{where} {index}'):
            by_id[entry['id']] = entry
    return by_id


def _published_sample(
    ref: Mapping[str, Any], infos: Mapping[int, Any], annotations: Mapping[int, Any], images: Path
) -> Sample:
    info = infos[ref['image_id']]
    return _sample(
        key=str(ref['ref_id']),
        image=images / info['file_name'],
        target=_target(annotations[ref['ann_id']]['segmentation'], info),
        sentences=[each['sent'] for each in ref['sentences']],
    )


def _read_refs(file: Path) -> list[dict[str, Any]]:
    if file.suffix == '.json':
        return read_list(file)
    check_file(file)
    try:
        refs = read_plain_pickle(file)
    except ValueError as error:
        raise DataError(str(error)) from error
    if not isinstance(refs, list):
        raise DataError(f'{file} has no list')
    return refs


def _sample(key: str, image: Path, target: Target, sentences: Sequence[str]) -> Sample:
    if not sentences:
        raise ValueError('there is no sentence')
    return Sample(
        key=key,
        task=SampleTask.IMAGE_REFERRING,
        frames=(ImageFile(image),),
        targets=(target,),
        instructions=tuple(sentences),
        joined=True,
    )


def _target(segmentation: Any, info: Mapping[str, Any]) -> Target:
    size = (int(info['height']), int(info['width']))
    if isinstance(segmentation, Mapping):
        return RunLengths.parse(segmentation)
    return Polygons(size, tuple(tuple(float(x) for x in ring) for ring in segmentation))


def score_refcoco(name: str, truth: Path, predictions: Path, split: str | None = None) -> Figures:
    """Score predictions of RefCOCO in both protocols.

    Args:
        name: `refcoco`, `refcoco+` or `refcocog`.
        truth: Folder of the data set.
        predictions: Folder with `KEY.png` for all sentences about an object as one instruction (the
            authors' protocol), or `KEY_0.png`, `KEY_1.png`, ... for each sentence alone (the
            standard protocol), or both.
        split: Split of the data set, by default `val`.

    Returns:
        cIoU, gIoU and precision under `joined` and `per_sentence`, if they have predictions; and
        `problems`, the entries with damaged targets, which are left out.

    Raises:
        DataError: The data set cannot be read, or there is no prediction.
        ValueError: A prediction is damaged, or its size differs from its image's.
    """
    split = split or 'val'
    reading = read(name, truth, split)
    protocols = {
        'joined': [(sample, joined_file(sample)) for sample in reading.samples],
        'per_sentence': [
            (sample, sentence_file(sample, number))
            for sample in reading.samples
            for number in range(len(sample.instructions))
        ],
    }
    problems = [str(problem) for problem in reading.problems]
    scored: Figures = {
        protocol: score_images(files, predictions, problems)
        for protocol, files in protocols.items()
        if any((predictions / file).is_file() for _, file in files)
    }
    if not scored:
        raise DataError(f'{predictions} has no KEY.png and no KEY_0.png of {name} {split}')
    return scored | {'problems': list(dict.fromkeys(problems))}


_PUBLISHED: Final = {
    'refcoco': {
        'val': row(85.8, LISA_7B=74.9, GSVA_7B=76.4, GLaMM=79.5, PSALM=83.6),
        'testA': row(86.6, LISA_7B=79.1, GSVA_7B=77.4, GLaMM=83.2, PSALM=84.7),
        'testB': row(84.0, LISA_7B=72.3, GSVA_7B=72.8, GLaMM=76.9, PSALM=81.6),
    },
    'refcoco+': {
        'val': row(80.1, LISA_7B=65.1, GSVA_7B=64.5, GLaMM=72.6, PSALM=72.9),
        'testA': row(83.8, LISA_7B=70.8, GSVA_7B=67.7, GLaMM=78.7, PSALM=75.5),
        'testB': row(75.6, LISA_7B=58.1, GSVA_7B=58.6, GLaMM=64.6, PSALM=70.1),
    },
    'refcocog': {
        'val': row(79.3, LISA_7B=67.9, GSVA_7B=71.1, GLaMM=74.2, PSALM=73.8),
        'test': row(80.3, LISA_7B=70.6, GSVA_7B=72.0, GLaMM=74.9, PSALM=74.4),
    },
}
DATA_SETS: Final = tuple(
    MaskBenchmark(
        name=name,
        splits=splits,
        read=partial(read, name),
        layout=f'images/train2014/COCO_train2014_*.jpg\n'
        f'{name}/{name}_SPLIT.json as the authors of InstructSeg write it, or\n'
        f'{name}/instances.json with {name}/refs({_SPLIT_BY[name]}).p, or refs.json instead',
        procedure=Procedure.JOINED_AND_SINGLE,
        score=partial(score_refcoco, name),
        published={'joined.cIoU': _PUBLISHED[name]},
    )
    for name, splits in _SPLITS.items()
)
