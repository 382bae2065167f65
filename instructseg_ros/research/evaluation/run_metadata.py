"""Identifies the model and data behind an output folder, so that no run uses another's results."""

from __future__ import annotations

import functools
import hashlib
import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from instructseg_ros.model.model_files import find_model, model_hash
from instructseg_ros.research.data.reading import read_json
from instructseg_ros.research.data.sample import ImageSource, Sample
from instructseg_ros.video.run_folder import write_json

NOTE: Final = 'evaluation.json'
_DESCRIBED_SEPARATELY: Final = ('model', 'samples', 'images')


def origin_of(
    benchmark: str, data: Path, split: str, samples: Sequence[Sample], model: str, dtype: str
) -> dict[str, Any]:
    """Collect everything that predictions depend on but that their files do not contain.

    Args:
        benchmark: Name of the benchmark.
        data: Folder of the data set.
        split: Name of the split.
        samples: Samples of the split; prediction files are named after their keys, which may be
            line numbers.
        model: Name or folder of the model.
        dtype: Number format of the model.

    Raises:
        ModelError: There is no such model.
    """
    folder = find_model(model).resolve()
    return {
        'benchmark': benchmark,
        'data': str(data.resolve()),
        'split': split,
        'samples': fingerprint(samples),
        'model': str(folder),
        'weights': model_hash(folder),
        'dtype': dtype,
        'images': _versions(samples),
    }


def claim(file: Path, origin: Mapping[str, Any], *, holds: str, first: bool = True) -> None:
    """Record which run an output folder belongs to, or check that it belongs to this run.

    Args:
        file: The record in the folder, which is created if missing.
        origin: JSON values that identify the run. `model` is only a name for `weights`; `samples`
            is a `fingerprint`; `images` maps each sample's key to a version.
        holds: Words for the content of the folder in messages, such as `predictions of`.
        first: Whether this is the process that writes the record.

    Raises:
        ValueError: The folder belongs to another run; the message names the difference and
            how to fix it.
    """
    origin = json.loads(json.dumps(origin))
    recorded = read_json(file) if file.is_file() else origin
    if difference := _difference(recorded if isinstance(recorded, dict) else {}, origin):
        raise ValueError(
            f'{file.parent} holds {holds} {difference}: remove it or name another --output'
        )
    if first:
        write_json(file, origin)


def forget_images(file: Path, keys: Iterable[str]) -> None:
    """Remove the images of skipped samples from the record, so that they may be repaired."""
    origin = read_json(file)
    for key in keys:
        origin['images'].pop(key, None)
    write_json(file, origin)


def fingerprint(samples: Iterable[Sample]) -> str:
    """Return a hexadecimal hash of the keys, texts and image names of samples."""
    digest = hashlib.sha256()
    for sample in samples:
        asked = (sample.key, sample.instructions, sample.turns, sample.frames)
        digest.update(repr(asked).encode())
    return digest.hexdigest()


def _versions(samples: Iterable[Sample]) -> dict[str, str]:
    """Return, by each sample's key, a hash of the versions of its images."""
    version = functools.cache(operator.methodcaller('version'))

    @functools.cache  # samples of a video share its frames
    def digest(frames: tuple[ImageSource, ...]) -> str:
        return hashlib.sha256('\n'.join(map(version, frames)).encode()).hexdigest()[:16]

    return {sample.key: digest(sample.frames) for sample in samples}


def _difference(recorded: Mapping[str, Any], origin: Mapping[str, Any]) -> str:
    """Describe how an origin differs from the recorded one; '' if they are equal."""
    other = [
        _words(key, recorded, origin)
        for key in {**recorded, **origin}
        if key not in _DESCRIBED_SEPARATELY and recorded.get(key) != origin.get(key)
    ]
    if other:
        return '; '.join(other)
    if recorded.get('samples') != origin.get('samples'):
        return 'samples that differ: a sentence or an image was added, removed or moved since'
    before = recorded.get('images', {})
    for key, version in origin.get('images', {}).items():
        if before.get(key, version) != version:
            return f'images that have changed since, the first in sample {key}'
    return ''


def _words(key: str, recorded: Mapping[str, Any], origin: Mapping[str, Any]) -> str:
    if key == 'weights':
        before, after = (
            f'{each.get("model")} with weights {str(each.get("weights"))[:12]}'
            for each in (recorded, origin)
        )
        return f'model {before}, not {after}'
    return f'{key} {recorded.get(key)}, not {origin.get(key)}'
