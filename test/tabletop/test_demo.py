from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from instructseg_ros.ros.launching import NodeProcess
from instructseg_ros.tabletop import instructions
from instructseg_ros.tabletop.demo import SCRIPT, ScriptLine
from instructseg_ros.tabletop.demo_report import ABSENT
from instructseg_ros.tabletop.world.recording import Recording
from instructseg_ros.tabletop.world.scene_graph import SceneGraph


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


@pytest.mark.ros
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


@pytest.mark.ros
def test_a_process_that_ends_ends_the_demo_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / 'sim_camera.log'
    with NodeProcess(
        'sim_camera', log, arguments=[], parameters={'source': 'dreams'}, room='tabletop'
    ) as camera:
        camera._process.wait()
        with pytest.raises(RuntimeError, match='source "dreams" does not exist'):
            camera.check()


@pytest.mark.ros
def test_a_model_that_is_missing_ends_the_demo_with_the_nodes_own_words(tmp_path: Path) -> None:
    done = run_demo(tmp_path / 'demo', '--model', '/nowhere', '--source', 'recording')
    assert done.returncode == 1
    assert 'cannot configure' in done.stderr
    assert '/nowhere' in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.fixture(scope='module')
def graph() -> SceneGraph:
    with Recording() as recording:
        return recording.observe(1.0).graph


def test_the_script_has_every_category_and_an_absent_target() -> None:
    assert set(SCRIPT) == {*instructions.INSTRUCTION_CATEGORIES, ABSENT}
    assert len(SCRIPT) >= 8


def test_a_line_says_the_same_again_in_the_same_scene(graph: SceneGraph) -> None:
    line = ScriptLine(category='attribute', seed=5)
    first, second = line.instruction(graph), line.instruction(graph)
    assert first is not None
    assert first == second
    assert line.targets(first, graph) == first.targets != frozenset()


def test_an_absent_target_is_nowhere(graph: SceneGraph) -> None:
    instruction = ScriptLine(category=ABSENT, seed=5).instruction(graph)
    assert instruction is not None
    assert instruction.targets == frozenset()


def test_where_the_scene_gives_other_words_the_first_targets_stay(graph: SceneGraph) -> None:
    line = ScriptLine(category='attribute', seed=5)
    given = line.instruction(graph)
    assert given is not None
    changed = dataclasses.replace(given, text='something else', targets=frozenset({200}))
    assert line.targets(changed, graph) == {200}
    assert line.targets(given, ()) == given.targets
