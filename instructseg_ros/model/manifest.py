"""Model folders pinned by the hashes of their files, as `sha256sum` writes them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

MANIFEST: Final = 'SHA256SUMS'
_LINE = re.compile(r'([0-9a-f]{64}) [ *]([^/\\]+)')
_LFS_POINTER: Final = b'version https://git-lfs'
_CHUNK: Final = 1 << 20
_PINNED: Final = ('.json', '.safetensors')  # what a model is loaded from


class ManifestError(ValueError):
    """A folder does not hold what its manifest says; the message names the file."""


def check_manifest(folder: Path) -> None:
    """Compare a model folder with its manifest, where it has one.

    Raises:
        ManifestError: a file was changed, added or removed, or the manifest is damaged.
    """
    if not (folder / MANIFEST).is_file():
        return
    listed = _read(folder / MANIFEST)
    for name, wanted in listed.items():
        file = folder / name
        if not file.is_file():
            raise ManifestError(f'{name} is listed in {MANIFEST} and missing')
        if sha256(file) != wanted:
            raise ManifestError(f'{name} is not the file whose hash {MANIFEST} lists')
    for file in pinned_files(folder):
        if file.name not in listed:
            raise ManifestError(f'{file.name} is not listed in {MANIFEST}')


def pinned_files(folder: Path) -> list[Path]:
    """Return the files that a model is loaded from.

    Hidden files are not among them: macOS writes `._config.json` next to config.json.
    """
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix in _PINNED and not file.name.startswith('.')
    )


def write_manifest(folder: Path) -> None:
    """Pin the files of a model folder as they are now."""
    lines = [f'{sha256(file)}  {file.name}\n' for file in pinned_files(folder)]
    (folder / MANIFEST).write_text(''.join(lines))


def model_hash(folder: Path) -> str:
    """Identify a model by all files that it is loaded from, whatever their times and places.

    The manifest gives the hashes where there is one: loading the model compares them with the
    files. Without a manifest the files are read, which takes seconds for 7 GB.

    Returns:
        SHA-256 over names and hashes, in hexadecimal.

    Raises:
        ManifestError: The manifest is damaged.
    """
    manifest = folder / MANIFEST
    hashes = _read(manifest) if manifest.is_file() else {}
    lines = [
        f'{hashes.get(file.name) or sha256(file)}  {file.name}\n' for file in pinned_files(folder)
    ]
    return hashlib.sha256(''.join(lines).encode()).hexdigest()


def is_lfs_pointer(file: Path) -> bool:
    """Whether a file is only what a clone without git-lfs has in place of the content."""
    with file.open('rb') as stream:
        return stream.read(len(_LFS_POINTER)) == _LFS_POINTER


def explain_lfs_pointer(file: Path) -> str:
    """Return the message about a pointer of git-lfs, with the remedy."""
    return f'{file} is only a pointer to its content: run `git lfs pull` in {file.parent}'


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open('rb') as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _read(file: Path) -> dict[str, str]:
    listed = {}
    for number, line in enumerate(file.read_text(errors='replace').splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ManifestError(f'line {number} of {MANIFEST} is no hash and name of a file')
        listed[match[2]] = match[1]
    return listed
