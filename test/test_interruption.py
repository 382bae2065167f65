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

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [[str(Path(sys.executable).parent / name)] for name in PROGRAMS]
MODULES = [
    [sys.executable, '-m', f'instructseg_ros.{name}']
    for name in (
        'cli.main',
        'ros.segmentation_node',
        'tabletop.demo',
        'tabletop.sim_camera',
        'tabletop.world.recording',
    )
]


def test_every_console_script_is_known_to_be_a_program_of_the_package() -> None:
    scripts = {
        point.name
        for point in entry_points(group='console_scripts')
        if point.value.startswith('instructseg_ros.')
    }
    assert scripts == set(PROGRAMS)


@pytest.mark.parametrize(
    'command', SCRIPTS + MODULES, ids=lambda command: ' '.join(Path(part).name for part in command)
)
@pytest.mark.parametrize('imported', ['instructseg_ros', 'numpy'])
def test_sigint_during_imports_ends_a_program_without_a_traceback(
    command: list[str], imported: str, tmp_path: Path
) -> None:
    # Python reports on standard error when it has imported a module.
    environment = {**os.environ, 'PYTHONPROFILEIMPORTTIME': '1'}
    process = subprocess.Popen(
        [*command, 'evaluate'],
        env=environment,
        text=True,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
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


def test_every_module_that_is_a_program_takes_sigint_back_from_its_imports() -> None:
    programs = [
        file
        for file in (ROOT / 'instructseg_ros').rglob('*.py')
        if "if __name__ == '__main__':" in file.read_text()
    ]
    assert len(programs) > 3
    for file in programs:
        # A node has handlers of its own.
        assert re.search(r'\braise_again\(\)|\brun_node\(', file.read_text()), file


def test_sigint_ends_the_recorder_and_leaves_no_folder_behind(tmp_path: Path) -> None:
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, '-c', SLOW_RECORDER, '--output', tmp_path / 'tabletop.mcap'],
        env={**os.environ, 'TMPDIR': str(temporary)},
        text=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == 'recording\n'
    assert list(temporary.iterdir())
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 130
    assert not list(temporary.iterdir())
    assert 'Traceback' not in process.stderr.read()


SLOW_RECORDER = """
import signal
import sys
import time

signal.signal(signal.SIGINT, signal.SIG_DFL)  # as it is while -m imports
from instructseg_ros.tabletop.world import recording


def frames(*args, **options):
    print('recording', flush=True)
    while True:
        time.sleep(0.01)
        yield from ()


recording.render_frames = frames
sys.exit(recording.main())
"""


def test_a_process_that_only_imports_the_package_gets_its_interrupts() -> None:
    code = 'import signal, instructseg_ros; print(signal.getsignal(signal.SIGINT).__name__)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == 'default_int_handler\n'
