from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from instructseg_ros.tabletop.world.mujoco_model import SIDE, texture
from instructseg_ros.tabletop.world.simulator import Tabletop


def test_threads_that_follow_each_other_see_the_same(tabletop: Tabletop) -> None:
    tabletop.reset(1)
    first = tabletop.observe(0.5).rgb
    for _ in range(3):
        with ThreadPoolExecutor(1) as pool:
            assert np.array_equal(pool.submit(tabletop.observe, 0.5).result().rgb, first)


def test_textures_fill_their_square_within_the_brightness_asked_for() -> None:
    for seed in range(60):
        image = texture(np.random.default_rng(seed), darkest=0.4, brightest=0.7)
        assert image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8
        assert 0.25 * 255 < image.max(-1).mean() < 0.85 * 255


def test_a_texture_depends_on_its_random_numbers_alone() -> None:
    first, again, other = (
        texture(np.random.default_rng(seed), darkest=0.2, brightest=0.8) for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


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
        'from instructseg_ros.tabletop.world.mujoco_model import OpenGLError\n'
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
