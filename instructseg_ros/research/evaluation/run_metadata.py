"""Identifies the model and data behind an output folder.

Results are never attributed to the wrong run.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from instructseg_ros.model.model_files import find_model, model_hash
from instructseg_ros.research.data.images import Picture
from instructseg_ros.research.data.reading import read_json
from instructseg_ros.research.data.sample import Sample

NOTE: Final = 'evaluation.json'
_SPOKEN_OF_ELSEWHERE: Final = ('model', 'samples', 'images')


def origin_of(
    benchmark: str, data: Path, split: str, samples: Iterable[Sample], model: str, dtype: str
) -> dict[str, Any]:
    """Everything that predictions depend on and that their files do not say.

    Args:
        samples: Those of the split; predictions are named by their keys, which may be line numbers.

    Raises:
        ModelError: There is no such model.
    """
    samples = tuple(samples)
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
    """Note what an output folder is for, or make sure that it is for the same.

    Args:
        file: The note in the folder, which is created if missing.
        origin: The note, as JSON has it. `model` is only a name for `weights`; `samples` is a
            `fingerprint`; `images` has a version for each sample's key.
        holds: Content of the folder, for messages: `predictions of`.
        first: This is the one process that writes the note.

    Raises:
        ValueError: It holds something else; the message names what differs, and the remedy.
    """
    origin = json.loads(json.dumps(origin))
    noted = read_json(file) if file.is_file() else origin
    if difference := _difference(noted if isinstance(noted, dict) else {}, origin):
        raise ValueError(
            f'{file.parent} holds {holds} {difference}: remove it or name another --output'
        )
    if first:
        _write(file, origin)


def forget_images(file: Path, keys: Iterable[str]) -> None:
    """Let the images of skipped samples change: nothing was predicted from the broken ones."""
    origin = read_json(file)
    for key in keys:
        origin['images'].pop(key, None)
    _write(file, origin)


def fingerprint(samples: Iterable[Sample]) -> str:
    """Identify what is asked about which image, by key, in hexadecimal."""
    digest = hashlib.sha256()
    for sample in samples:
        asked = (sample.key, sample.instructions, sample.turns, sample.frames)
        digest.update(repr(asked).encode())
    return digest.hexdigest()


def _versions(samples: Iterable[Sample]) -> dict[str, str]:
    """Identify the content of each sample's images; each image is looked at once."""
    version = functools.cache(operator.methodcaller('version'))

    @functools.cache  # samples of one video share its frames
    def digest(frames: tuple[Picture, ...]) -> str:
        return hashlib.sha256('\n'.join(map(version, frames)).encode()).hexdigest()[:16]

    return {sample.key: digest(sample.frames) for sample in samples}


def _difference(noted: Mapping[str, Any], origin: Mapping[str, Any]) -> str:
    """Return in words how the origin differs; '' where it is the same."""
    other = [
        _words(key, noted, origin)
        for key in {**noted, **origin}
        if key not in _SPOKEN_OF_ELSEWHERE and noted.get(key) != origin.get(key)
    ]
    if other:
        return '; '.join(other)
    if noted.get('samples') != origin.get('samples'):
        return 'samples that differ: a sentence or an image was added, removed or moved since'
    before = noted.get('images', {})
    for key, version in origin.get('images', {}).items():
        if before.get(key, version) != version:
            return f'images that were changed since, the first: sample {key}'
    return ''


def _words(key: str, noted: Mapping[str, Any], origin: Mapping[str, Any]) -> str:
    if key == 'weights':
        before, after = (
            f'{each.get("model")} with weights {str(each.get("weights"))[:12]}'
            for each in (noted, origin)
        )
        return f'model {before}, not {after}'
    return f'{key} {noted.get(key)}, not {origin.get(key)}'


def _write(file: Path, origin: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix('.partial')
    scratch.write_text(json.dumps(dict(origin), indent=2) + '\n')
    scratch.replace(file)
