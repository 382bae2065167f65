from __future__ import annotations

import os
import subprocess
import sys


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_missing_opengl_is_an_error_that_names_the_remedy() -> None:
    code = (
        'from instructseg_ros.tabletop.world.world_model import OpenGLError\n'
        'from instructseg_ros.tabletop.world.simulator import Tabletop\n'
        'try:\n'
        '    Tabletop(width=64, height=48)\n'
        'except OpenGLError as error:\n'
        '    print(error)\n'
    )
    done = _python(code, MUJOCO_GL='nothing')
    assert done.returncode == 0, done.stderr
    assert 'apt-get install libosmesa6' in done.stdout and 'recording' in done.stdout


def test_importing_the_simulation_does_not_import_mujoco() -> None:
    code = (
        'import sys\n'
        'import instructseg_ros.tabletop.world.simulator\n'
        'import instructseg_ros.tabletop.world.recording\n'
        'assert "mujoco" not in sys.modules\n'
    )
    done = _python(code)
    assert done.returncode == 0, done.stderr
