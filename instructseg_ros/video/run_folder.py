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
from pathlib import Path
from typing import Any, Final

from instructseg_ros.streaming.image_files import write_mask
from instructseg_ros.video.record import FrameRecord

LOCK: Final = '.lock'
# Errors of file systems without locks, such as NFS without its lock service.
_UNSUPPORTED: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_log = logging.getLogger(__name__)


class LockError(ValueError):
    """Another run writes to the folder; the error names it and says how to fix it."""


class OutputError(ValueError):
    """A run cannot be written to a folder; the error says how to fix it."""


def make_folder(folder: Path) -> None:
    """Create an output folder if missing.

    Raises:
        NotADirectoryError: A file has its name; the error names it and says how to fix it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        raise NotADirectoryError(f'{file} is a file: name a folder with --output') from error


def first_process() -> bool:
    """Return whether this is the first, or the only, process that a launcher started."""
    return os.environ.get('WORLD_SIZE', '1') == '1' or os.environ.get('RANK') == '0'


@contextlib.contextmanager
def locked(folder: Path, *, first: bool = True) -> Iterator[None]:
    """Keep other processes, on this and other machines, from writing to a folder.

    The lock is a POSIX record lock on a file in the folder. It works on NFS, forked data loaders do
    not inherit it, and the kernel releases it when the process ends for any reason.

    Args:
        folder: The folder, created if missing.
        first: Whether this process takes the lock; the others of its run rely on it.

    Raises:
        LockError: Another process holds the lock.
        NotADirectoryError: A file has the name of the folder.
    """
    if not first:
        yield
        return
    make_folder(folder)
    file = folder / LOCK
    with file.open('a+') as opened:
        _acquire(opened.fileno(), file)
        opened.truncate(0)
        opened.write(json.dumps({'host': socket.gethostname(), 'pid': os.getpid()}))
        opened.flush()
        yield


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
    """Describe the process that wrote the lock file; '' if it cannot be read."""
    try:
        holder = json.loads(file.read_text())
        return f' (process {holder["pid"]} on {holder["host"]})'
    except (OSError, ValueError, LookupError, TypeError):
        return ''


def write_json(file: Path, value: Any) -> None:
    """Write a JSON file, creating its folder; the file is replaced only by a complete one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix('.partial')
    draft.write_text(json.dumps(value, indent=2) + '\n')
    draft.replace(file)


class RunFolder:
    """The folder of a run.

    Attributes:
        folder: The folder.
        record: `masks.jsonl`, the results of every frame.
        png: Folder with a folder of masks for each instruction.
        overlay: Folder with a video for each instruction.
        bag: Folder of the bag of masks.
        incomplete: Folder of unfinished output.
    """

    def __init__(self, folder: Path) -> None:
        """Name the files and folders, without creating them."""
        self.folder = folder
        self.record = folder / 'masks.jsonl'
        self.png = folder / 'png'
        self.overlay = folder / 'overlay'
        self.bag = folder / 'bag'
        self.incomplete = folder / 'incomplete'
        self._run = folder / 'run.json'

    def begin(self, run: dict[str, Any], *, overwrite: bool) -> None:
        """Start a run in the folder, or resume the same run.

        Args:
            run: Values that identify a run: source, instructions and model.
            overwrite: Delete the output of earlier runs.

        Raises:
            OutputError: The folder contains the output of another run, or other files.
        """
        others = [file for file in self.folder.iterdir() if file.name != LOCK]
        if others and not self._run.exists():
            raise OutputError(
                f'{self.folder} contains other files: name a new folder with --output'
            )
        if self._run.exists() and not overwrite:
            self._check(run)
            return
        self._clear()
        write_json(self._run, {'run': run, 'frames': None})

    @property
    def frames(self) -> int | None:
        """Number of frames of the source; None until all of them are in the record."""
        frames: int | None = self._read()['frames']
        return frames

    def complete(self, frames: int) -> None:
        """Mark the record as complete."""
        write_json(self._run, self._read() | {'frames': frames})

    def make(self, target: Path, fill: Callable[[Path], object]) -> None:
        """Fill a folder under a temporary name, and rename it when it is complete.

        After an interruption, `fill` receives the incomplete folder again.
        """
        if target.exists():
            return
        unfinished = self.incomplete / target.name
        unfinished.mkdir(parents=True, exist_ok=True)
        fill(unfinished)
        unfinished.replace(target)
        with contextlib.suppress(OSError):  # It contains another unfinished folder.
            self.incomplete.rmdir()

    def _check(self, run: dict[str, Any]) -> None:
        before = self._read()['run']
        other = [
            f'{name} {before.get(name)!r}, not {run[name]!r}'
            for name in run
            if before.get(name) != run[name]
        ]
        if other:
            raise OutputError(
                f'{self.folder} holds the masks of another run ({"; ".join(other)}): name another '
                f'folder with --output, or start again with --overwrite'
            )

    def _clear(self) -> None:
        """Delete the output of a run and nothing else; its description stays."""
        for folder in (self.png, self.overlay, self.bag, self.incomplete):
            shutil.rmtree(folder, ignore_errors=True)
        self.record.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            read = json.loads(self._run.read_text())
            return {'run': dict(read['run']), 'frames': read['frames']}
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f'{self._run} is damaged ({error}): start again with --overwrite'
            ) from error


def file_names(texts: Iterable[str]) -> Sequence[str]:
    """Return a unique name, valid for files and topics, for each instruction."""
    names: list[str] = []
    for text in texts:
        words = re.sub('[^a-z0-9]+', '_', text.lower())[:40].strip('_')
        name = words if words[:1].isalpha() else f'instruction_{words}'.rstrip('_')
        others = (f'{name}_{number}' for number in itertools.count(2))
        names.append(next(one for one in itertools.chain([name], others) if one not in names))
    return names


def write_pngs(records: Iterable[FrameRecord], names: Sequence[str], folder: Path) -> None:
    """Write the masks of each instruction (0 or 255; all 0 unless FOUND) as PNG.

    Files are named after the image that they belong to, or after the frame number. Existing files
    are kept.
    """
    for record in records:
        stem = Path(record.info.name).stem if record.info.name else f'{record.frame:06d}'
        files = [folder / name / f'{stem}.png' for name in names]
        if not all(file.exists() for file in files):
            for file, result in zip(files, record.segmentations(), strict=True):
                assert result.mask is not None
                write_mask(file, result.mask)
