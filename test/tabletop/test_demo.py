from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from instructseg_ros.ros.launching import NodeProcess

pytestmark = pytest.mark.ros


def run_demo(output: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            '-m',
            'instructseg_ros.tabletop.demo',
            '--output',
            str(output),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_the_demo_leaves_its_image_and_figures_and_untrained_weights_fail_it(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    done = run_demo(tmp_path / 'demo', '--model', str(tiny_model_dir), '--source', 'recording')
    figures = json.loads((tmp_path / 'demo/demo.json').read_text())
    assert len(figures['instructions']) >= 8
    assert {row['state'] for row in figures['instructions']} <= {'FOUND', 'NOT_FOUND'}
    assert figures['fps'] > 0
    assert (tmp_path / 'demo/demo.png').stat().st_size > 10_000
    assert (tmp_path / 'demo/demo.gif').stat().st_size < 10_000_000
    assert done.returncode == 1
    assert 'FAILED' in done.stdout
    assert 'Traceback' not in done.stdout + done.stderr


def test_a_process_that_ends_ends_the_demo_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / 'sim_camera.log'
    with NodeProcess(
        'sim_camera', log, arguments=[], parameters={'source': 'dreams'}, room='tabletop'
    ) as camera:
        camera._process.wait()
        with pytest.raises(RuntimeError, match='source "dreams" does not exist'):
            camera.check()


def test_a_model_that_is_missing_ends_the_demo_with_the_nodes_own_words(tmp_path: Path) -> None:
    done = run_demo(tmp_path / 'demo', '--model', '/nowhere', '--source', 'recording')
    assert done.returncode == 1
    assert 'cannot configure' in done.stderr
    assert '/nowhere' in done.stderr
    assert 'Traceback' not in done.stderr
