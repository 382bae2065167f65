from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / 'README.md'
BLOCKS = re.findall(r'^```sh\n(.*?)^```$', README.read_text(), re.MULTILINE | re.DOTALL)
PROGRAMS = sorted(set(re.findall(r'\.venv/bin/(\w+)', '\n'.join(BLOCKS))))


def test_the_readme_names_the_programs_that_run_without_ros() -> None:
    assert {'sim_camera', 'segmentation_node', 'instructseg'} <= set(PROGRAMS)


@pytest.mark.ros
@pytest.mark.parametrize('program', PROGRAMS)
def test_a_program_that_the_readme_runs_from_the_environment_prints_help(program: str) -> None:
    command = [Path(sys.executable).parent / program, '--help']
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.startswith(f'usage: {program} ')
