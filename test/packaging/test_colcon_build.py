"""The workspace that colcon builds, and a message of it between two processes."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('colcon') is None, reason='colcon is not installed: make setup'
)


@pytest.fixture(scope='module')
def smoke(sources: Path) -> ModuleType:
    """scripts/colcon_smoke.py of the sources."""
    path = sources / 'scripts' / 'colcon_smoke.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def workspace(smoke: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('workspace')
    smoke.build(folder, [])
    return folder


def installed(workspace: Path) -> Path:
    return workspace / 'install' / 'instructseg_ros'


def test_it_installs_our_modules_and_the_generated_ones(workspace: Path, modules: set[str]) -> None:
    package = next(installed(workspace).glob('lib/python*/*-packages/instructseg_ros'))
    found = {str(path.relative_to(package.parent)) for path in package.rglob('*')}
    assert modules - found == set()
    assert {'instructseg_ros/msg/_segmentation.py', 'instructseg_ros/action/_find.py'} <= found


def test_it_installs_the_files_that_ros2_run_and_launch_look_for(
    workspace: Path, shared: set[str]
) -> None:
    prefix = installed(workspace)
    for name in ('instructseg', 'segmentation_node', 'sim_camera'):
        assert os.access(prefix / 'lib' / 'instructseg_ros' / name, os.X_OK)
    assert [
        name for name in shared if not (prefix / 'share' / 'instructseg_ros' / name).is_file()
    ] == []


def test_colcon_test_runs_the_fast_tests(
    smoke: ModuleType, workspace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    smoke.test(workspace, ['--ctest-args', '-R', 'spatial'])
    summary = re.search(r'(\d+) tests, 0 errors, 0 failures', capfd.readouterr().out)
    assert summary is not None
    assert int(summary[1]) > 20


@pytest.mark.ros
def test_its_message_goes_from_one_process_to_another(
    smoke: ModuleType, workspace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    smoke.exchange(workspace)
    assert str(installed(workspace)) in capfd.readouterr().out


def test_its_command_runs_once_the_workspace_is_sourced(smoke: ModuleType, workspace: Path) -> None:
    answer = subprocess.run(
        ['sh', '-c', '. install/local_setup.sh && instructseg --help'],
        cwd=workspace,
        env=smoke.underlay(),
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith('usage: instructseg')
