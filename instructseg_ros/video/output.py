"""The folder of a run: what is where, and whether it is the same run that goes on."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from instructseg_ros.locking import LOCK


class OutputError(ValueError):
    """A folder that a run cannot be written to; the message names the remedy."""


class Output:
    """The folder of a run.

    Attributes:
        folder: The folder.
        record: `masks.jsonl`, the answers to every frame.
        png: Folder with a folder of masks for each instruction.
        overlay: Folder with a film for each instruction.
        bag: Folder of the bag of masks.
        scratch: Folder of what is not complete.
    """

    def __init__(self, folder: Path) -> None:
        """Name the parts; nothing is made."""
        self.folder = folder
        self.record = folder / 'masks.jsonl'
        self.png = folder / 'png'
        self.overlay = folder / 'overlay'
        self.bag = folder / 'bag'
        self.scratch = folder / 'incomplete'
        self._run = folder / 'run.json'

    def begin(self, run: dict[str, Any], *, overwrite: bool) -> None:
        """Make the folder that of a run, or go on with the one that is in it.

        Args:
            run: What makes a run the same: source, instructions and model.
            overwrite: Delete what earlier runs wrote.

        Raises:
            OutputError: It holds another run, or something else.
        """
        others = [file for file in self.folder.iterdir() if file.name != LOCK]
        if others and not self._run.exists():
            raise OutputError(f'{self.folder} holds other things: give a new folder with --output')
        if self._run.exists() and not overwrite:
            self._check(run)
            return
        self._clear()
        self._write({'run': run, 'frames': None})

    @property
    def frames(self) -> int | None:
        """How many frames the source has, once all of them are in the record."""
        frames: int | None = self._read()['frames']
        return frames

    def complete(self, frames: int) -> None:
        """Take note that the record holds all frames."""
        self._write(self._read() | {'frames': frames})

    def make(self, target: Path, fill: Callable[[Path], object]) -> None:
        """Have a folder filled in the scratch folder, and move it to its place when it is whole.

        What `fill` left there when it was cut off is handed to it again.
        """
        if target.exists():
            return
        unfinished = self.scratch / target.name
        unfinished.mkdir(parents=True, exist_ok=True)
        fill(unfinished)
        unfinished.replace(target)
        with suppress(OSError):  # something else is in it
            self.scratch.rmdir()

    def _check(self, run: dict[str, Any]) -> None:
        before = self._read()['run']
        other = [f'{name} {before.get(name)!r}, not {run[name]!r}' for name in run
                 if before.get(name) != run[name]]
        if other:
            raise OutputError(
                f'{self.folder} holds the masks of another run ({"; ".join(other)}): give another '
                f'folder with --output, or begin anew with --overwrite')

    def _clear(self) -> None:
        """Delete what a run writes, and nothing else; its description stays to the last."""
        for folder in (self.png, self.overlay, self.bag, self.scratch):
            shutil.rmtree(folder, ignore_errors=True)
        self.record.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            read = json.loads(self._run.read_text())
            return {'run': dict(read['run']), 'frames': read['frames']}
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f'{self._run} is damaged ({error}): begin anew with --overwrite') from error

    def _write(self, state: dict[str, Any]) -> None:
        draft = self._run.with_suffix('.new')
        draft.write_text(json.dumps(state, indent=2, ensure_ascii=False) + '\n')
        os.replace(draft, self._run)


def short_names(texts: Iterable[str]) -> Sequence[str]:
    """Return a name for each instruction that files and topics may have, unlike the others'."""
    names: list[str] = []
    for text in texts:
        words = re.sub('[^a-z0-9]+', '_', text.lower())[:40].strip('_')
        name = words if words[:1].isalpha() else f'instruction_{words}'.rstrip('_')
        others = (f'{name}_{number}' for number in itertools.count(2))
        names.append(next(one for one in itertools.chain([name], others) if one not in names))
    return names
