from __future__ import annotations

import dataclasses

import pytest

from instructseg_ros.tabletop import instructions
from instructseg_ros.tabletop.demo.report import ABSENT
from instructseg_ros.tabletop.demo.runner import SCRIPT, ScriptLine
from instructseg_ros.tabletop.world.recording import Recording
from instructseg_ros.tabletop.world.scene_graph import SceneGraph


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
