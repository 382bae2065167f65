"""A lock on an output folder: one run writes to it at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

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
            file.parent, error,
        )  # fmt: skip


def _holder(file: Path) -> str:
    """The process that wrote the lock file, in words; '' where that cannot be read."""
    try:
        holder = json.loads(file.read_text())
        return f' (process {holder["pid"]} on {holder["host"]})'
    except (OSError, ValueError, LookupError, TypeError):
        return ''
