from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from instructseg_ros.interruption import PROGRAMS

SCRIPTS = [[str(Path(sys.executable).parent / name)] for name in PROGRAMS]
MODULES = [[sys.executable, '-m', f'instructseg_ros.{name}'] for name in (
    'cli', 'demo', 'ros.segmentation_node', 'ros.sim_camera', 'simulation.record')]


def test_every_console_script_is_known_to_be_a_program_of_the_package() -> None:
    scripts = {point.name for point in entry_points(group='console_scripts')
               if point.value.startswith('instructseg_ros.')}
    assert scripts == set(PROGRAMS)


@pytest.mark.parametrize('command', SCRIPTS + MODULES, ids=lambda command: ' '.join(
    Path(part).name for part in command))
@pytest.mark.parametrize('imported', ['instructseg_ros', 'numpy'])
def test_sigint_during_imports_ends_a_program_without_a_traceback(
        command: list[str], imported: str, tmp_path: Path) -> None:
    # Python reports on standard error when it has imported a module.
    environment = {**os.environ, 'PYTHONPROFILEIMPORTTIME': '1'}
    process = subprocess.Popen([*command, 'evaluate'], env=environment, text=True, cwd=tmp_path,
                               stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    output = ''
    for line in process.stderr:
        output += line
        if re.search(rf'\| +{imported}$', line):
            process.send_signal(signal.SIGINT)
            break
    output += process.stderr.read()
    assert process.wait() != 0
    assert 'Traceback' not in output


def test_a_process_that_only_imports_the_package_gets_its_interrupts() -> None:
    code = 'import signal, instructseg_ros; print(signal.getsignal(signal.SIGINT).__name__)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == 'default_int_handler\n'
