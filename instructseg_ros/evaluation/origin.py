"""What the predictions of a folder are of: no model is given the figures of another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from instructseg_ros.data.reading import read_json
from instructseg_ros.data.sample import Sample
from instructseg_ros.model.checkpoints import find_model
from instructseg_ros.model.manifest import model_hash

_NOTE: Final = 'evaluation.json'


def origin_of(
    benchmark: str, data: Path, split: str, samples: Iterable[Sample], model: str, dtype: str
) -> dict[str, str]:
    """All that predictions depend on and that their files do not say.

    Args:
        samples: of the split; predictions are named by their keys, which may be line numbers.

    Raises:
        ModelError: there is no such model.
    """
    folder = find_model(model).resolve()
    return {
        'benchmark': benchmark,
        'data': str(data.resolve()),
        'split': split,
        'samples': _fingerprint(samples),
        'model': str(folder),
        'weights': model_hash(folder),
        'dtype': dtype,
    }


def claim(output: Path, origin: Mapping[str, str], *, first: bool) -> None:
    """Note what an output folder is for, or make sure that it is for the same.

    Args:
        output: made where it is missing.
        origin: see `origin_of`.
        first: this is the one process that writes the note.

    Raises:
        ValueError: it holds something else; the message names the remedy.
    """
    file = output / _NOTE
    noted = read_json(file) if file.is_file() else origin
    other = [f'{key} {noted.get(key)}, not {origin.get(key)}' for key in {**noted, **origin}
             if origin.get(key) != noted.get(key)]  # fmt: skip
    if other:
        raise ValueError(
            f'{output} holds predictions of {"; ".join(other)}: remove it or name another --output'
        )
    if first:
        output.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix('.partial')
        scratch.write_text(json.dumps(dict(origin), indent=2) + '\n')
        scratch.replace(file)


def _fingerprint(samples: Iterable[Sample]) -> str:
    """Identify what is asked about which image, by key."""
    digest = hashlib.sha256()
    for sample in samples:
        asked = (sample.key, sample.instructions, sample.turns, sample.frames)
        digest.update(repr(asked).encode())
    return digest.hexdigest()
