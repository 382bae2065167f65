from __future__ import annotations

from pathlib import Path

import pytest

from instructseg_ros.checks.abuse import Tally, abuse, resident_memory_of
from instructseg_ros.checks.hostile_input import catalogue
from instructseg_ros.checks.node_tester import Tester
from instructseg_ros.checks.soak import start_node

pytestmark = pytest.mark.ros


def test_each_kind_of_hostile_input_has_a_name_of_its_own() -> None:
    names = [each.name for each in catalogue()]
    assert len(names) == len(set(names)) >= 60


def test_a_node_explains_bad_input_answers_what_is_valid_and_keeps_its_memory(
    domain: None, tiny_model_dir: Path, tmp_path: Path
) -> None:
    tally = Tally()
    memory = []
    with start_node(tmp_path / 'node.log', model=str(tiny_model_dir), device='cpu') as process:
        tester = Tester(process)
        assert tester.begin(), process.log.read_text()
        for _ in range(2):
            abuse(tester, catalogue(), tally)
            memory.append(resident_memory_of(process.pid))
        tester.close()
    assert tally.unexplained == []
    assert (tally.unanswered, tally.header_mismatches) == (0, 0)
    assert tally.valid_requests == tally.bad_inputs == 2 * len(catalogue())
    assert memory[1] / memory[0] < 1.02
    assert 'Traceback' not in process.log.read_text()
