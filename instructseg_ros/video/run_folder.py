"""The output folder of a run: locked by one process at a time, resumed only by the same run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import logging
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from instructseg_ros.video.frame import Place
from instructseg_ros.video.record import Line

LOCK: Final = '.lock'
# File systems without locks, such as NFS without its lock service.
_UNSUPPORTED: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_log = logging.getLogger(__name__)


class LockError(ValueError):
    """Another run writes to the folder; the message names it and the remedy."""


@contextlib.contextmanager
def locked(folder: Path, *, name: str = LOCK) -> Iterator[None]:
    """Keep other processes, on this and other machines, from writing to a folder meanwhile.

    The lock is a POSIX record lock on a file in the folder: NFS has it too, forked data loaders
    do not inherit it, and the kernel ends it with the process, however that ends.

    Args:
        folder: Created if missing.
        name: Name of the lock file; runs with different lock names may share a folder.

    Raises:
        LockError: Another process holds the lock.
        NotADirectoryError: A file is where the folder belongs.
    """
    make_folder(folder)
    file = folder / name
    with file.open('a+') as opened:
        _acquire(opened.fileno(), file)
        opened.truncate(0)
        opened.write(json.dumps({'host': socket.gethostname(), 'pid': os.getpid()}))
        opened.flush()
        yield


def make_folder(folder: Path) -> None:
    """Create an output folder if missing.

    Raises:
        NotADirectoryError: A file is in its place; the message names it and the remedy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        raise NotADirectoryError(f'{file} is a file: name a folder with --output') from error


def first_process() -> bool:
    """Whether this is the first, or the only, of the processes that a launcher started."""
    return os.environ.get('WORLD_SIZE', '1') == '1' or os.environ.get('RANK') == '0'


def _acquire(descriptor: int, file: Path) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise LockError(
                f'another run{_holder(file)} writes to {file.parent}: wait for it, end it, or '
                'name another --output'
            ) from error
        if error.errno not in _UNSUPPORTED:
            raise
        _log.warning(
            '%s does not support file locks (%s): make sure that no other run writes to it',
            file.parent,
            error,
        )


def _holder(file: Path) -> str:
    """The process that wrote the lock file, in words; '' where that cannot be read."""
    try:
        holder = json.loads(file.read_text())
        return f' (process {holder["pid"]} on {holder["host"]})'
    except (OSError, ValueError, LookupError, TypeError):
        return ''


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
        other = [
            f'{name} {before.get(name)!r}, not {run[name]!r}'
            for name in run
            if before.get(name) != run[name]
        ]
        if other:
            raise OutputError(
                f'{self.folder} holds the masks of another run ({"; ".join(other)}): give another '
                f'folder with --output, or begin anew with --overwrite'
            )

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
                f'{self._run} is damaged ({error}): begin anew with --overwrite'
            ) from error

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


def write_pngs(lines: Iterable[Line], names: Sequence[str], folder: Path) -> None:
    """Write the masks (0 or 255; all 0 unless FOUND) of the instructions of those names.

    The files are called as the pictures they belong to, or by the number of the frame. Those that
    are there already stay.
    """
    for name in names:
        (folder / name).mkdir(exist_ok=True)
    for line in lines:
        files = [folder / name / f'{_stem(line.frame, line.place)}.png' for name in names]
        if not all(file.exists() for file in files):
            for file, answer in zip(files, line.segmentations(), strict=True):
                assert answer.mask is not None
                _save(answer.mask, file)


def _stem(frame: int, place: Place) -> str:
    return Path(place.name).stem if place.name else f'{frame:06d}'


def _save(mask: np.ndarray, file: Path) -> None:
    draft = file.with_suffix('.new')
    Image.fromarray(mask.astype(np.uint8) * 255).save(draft, 'PNG')
    os.replace(draft, file)
