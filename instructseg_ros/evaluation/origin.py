"""What the predictions of a folder are of: no model is given the figures of another one."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from instructseg_ros.data.reading import read_json
from instructseg_ros.model.checkpoints import find_model

_NOTE: Final = 'evaluation.json'


def origin_of(
    benchmark: str, data: Path, split: str, model: str, dtype: str
) -> dict[str, str]:
    """All that predictions depend on and that their files do not say.

    Raises:
        ModelError: there is no such model.
    """
    folder = find_model(model).resolve()
    # A training that goes on writes other weights to the same folder.
    newest = max(file.stat().st_mtime for file in folder.glob('*.safetensors'))
    time = datetime.datetime.fromtimestamp(newest, datetime.timezone.utc)
    return {
        'benchmark': benchmark,
        'data': str(data.resolve()),
        'split': split,
        'model': str(folder),
        'weights of': time.isoformat(),
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
    other = [f'{key} {value}, not {origin.get(key)}' for key, value in noted.items()
             if origin.get(key) != value]  # fmt: skip
    if other:
        raise ValueError(
            f'{output} holds predictions of {"; ".join(other)}: remove it or name another --output'
        )
    if first:
        output.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix('.partial')
        scratch.write_text(json.dumps(dict(origin), indent=2) + '\n')
        scratch.replace(file)
