"""A copy of the sources, to build in without touching the checkout that is tested."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    'action',
    'cmake',
    'config',
    'instructseg_ros',
    'launch',
    'msg',
    'requirements',
    'scripts',
    'srv',
    'test',
)
FILES = ('CMakeLists.txt', 'LICENSE', 'package.xml', 'pyproject.toml', 'setup.py')


@pytest.fixture(scope='session')
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what the builds need, and nothing generated."""
    folder = tmp_path_factory.mktemp('sources')
    for name in FOLDERS:
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns('*.so', '__pycache__')
        )
    for name in ('action', 'msg', 'srv'):
        shutil.rmtree(folder / 'instructseg_ros' / name, ignore_errors=True)
    for name in FILES:
        shutil.copy2(ROOT / name, folder)
    return folder


@pytest.fixture(scope='session')
def modules(sources: Path) -> set[str]:
    """Files that an installed package has to hold: our modules, models and recordings."""
    suffixes = {'.py', '.json', '.safetensors', '.mcap'}
    return {
        str(path.relative_to(sources))
        for path in (sources / 'instructseg_ros').rglob('*')
        if path.suffix in suffixes
    }


@pytest.fixture(scope='session')
def shared(sources: Path) -> set[str]:
    """Files that an installed package has to hold under share/instructseg_ros."""
    return {
        str(path.relative_to(sources))
        for folder in ('config', 'launch')
        for path in (sources / folder).rglob('*')
        if path.is_file()
    }
