from __future__ import annotations

from pathlib import Path

import pytest
from hostile_input import HostileInput, HostileTester, catalogue

from instructseg_ros.checks.node_tester import start_node
from instructseg_ros.checks.soak import resident_memory_of

pytestmark = pytest.mark.ros


def unexplained(tester: HostileTester, each: HostileInput) -> str | None:
    """Send one input; return its name if the node gives no explanation in time."""
    since = len(tester.reasons)
    each.send(tester)
    if not each.explained or tester.wait(lambda: tester.is_explained(each.explained, since)):
        return None
    return each.name


def test_each_kind_of_hostile_input_has_a_name_of_its_own() -> None:
    names = [each.name for each in catalogue()]
    assert len(names) == len(set(names)) >= 60


def test_a_node_explains_bad_input_answers_valid_requests_and_keeps_its_memory(
    domain: None, tiny_model_dir: Path, tmp_path: Path
) -> None:
    silent: list[str | None] = []
    unanswered, memory = [], []
    with start_node(tmp_path / 'node.log', model=str(tiny_model_dir), device='cpu') as process:
        tester = HostileTester(process)
        assert tester.connect(), process.log.read_text()
        for _ in range(2):
            for each in catalogue():
                silent.append(unexplained(tester, each))
                if not tester.request():
                    unanswered.append(each.name)
            memory.append(resident_memory_of(process.pid))
        tester.close()
    assert [name for name in silent if name] == []
    assert (unanswered, tester.mismatches) == ([], 0)
    assert memory[1] / memory[0] < 1.02
    assert 'Traceback' not in process.log.read_text()
