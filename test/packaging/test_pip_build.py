"""The wheel that pip builds."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

EXECUTABLES = ('instructseg', 'segmentation_node', 'sim_camera')


@pytest.fixture(scope='module')
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp('wheel')
    built = subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'wheel',
            '.',
            '--no-deps',
            '--no-build-isolation',
            '--no-index',
            '-w',
            str(folder),
        ],
        cwd=sources,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return zipfile.ZipFile(next(folder.glob('*.whl')))


def data(wheel: zipfile.ZipFile) -> set[str]:
    """Files of the wheel that go into the prefix, relative to it."""
    _, found = zip(
        *(name.split('.data/data/') for name in wheel.namelist() if '.data/data/' in name),
        strict=True,
    )
    return set(found)


def test_it_is_bound_to_this_python_and_platform(wheel: zipfile.ZipFile) -> None:
    tag = f'cp{sys.version_info[0]}{sys.version_info[1]}'
    assert f'-{tag}-{tag}-linux_' in str(wheel.filename)


def test_it_holds_our_modules_and_the_generated_ones(
    wheel: zipfile.ZipFile, modules: set[str]
) -> None:
    names = set(wheel.namelist())
    assert modules - names == set()
    for generated in (
        'msg/_command.py',
        'msg/_segmentation.py',
        'srv/_segment.py',
        'srv/_cancel.py',
        'action/_find.py',
    ):
        assert f'instructseg_ros/{generated}' in names
    assert any(name.startswith('instructseg_ros/') and name.endswith('.so') for name in names)


def test_the_prefix_gets_the_files_that_ros_looks_for(
    wheel: zipfile.ZipFile, shared: set[str]
) -> None:
    found = data(wheel)
    assert {f'share/instructseg_ros/{name}' for name in shared} - found == set()
    assert 'share/ament_index/resource_index/packages/instructseg_ros' in found
    assert 'lib/libinstructseg_ros__rosidl_typesupport_c.so' in found
    assert {f'lib/instructseg_ros/{name}' for name in EXECUTABLES} - found == set()


def test_its_commands_are_those_of_ros2_run(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith('entry_points.txt'))
    entries = configparser.ConfigParser()
    entries.read_string(wheel.read(name).decode())
    assert sorted(entries['console_scripts']) == sorted(EXECUTABLES)


def test_no_test_or_build_file_is_in_it(wheel: zipfile.ZipFile) -> None:
    tops = {name.split('/')[0].split('-')[0] for name in wheel.namelist()}
    assert tops == {'instructseg_ros'}
