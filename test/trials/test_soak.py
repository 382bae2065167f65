from __future__ import annotations

from pathlib import Path

import pytest

from instructseg_ros.trials.soak import Memory, memory_growth, soak


def test_memory_growth_is_measured_after_the_warm_up() -> None:
    assert memory_growth([50, 90] + [100] * 38) == 0.0
    assert memory_growth([100] * 36 + [110] * 4) == pytest.approx(0.1)
    assert memory_growth([100]) == 0.0
    assert memory_growth([]) == 0.0


def test_memory_at_rest_is_told_from_its_peak() -> None:
    memory = Memory()
    for resident, at_rest in ((90, True), (150, False), (91, True)):
        memory.note(resident, at_rest=at_rest)
    assert (memory.at_rest, memory.peak) == ([90, 91], 150)


@pytest.mark.ros
def test_a_killed_node_comes_back_and_answers(
        domain: None, tiny_model_dir: Path, tmp_path: Path) -> None:
    told: list[object] = []
    report = soak(tmp_path / 'node.log', minutes=0.0, model=str(tiny_model_dir), device='cpu',
                  tell=told.append)
    assert told == ['hostile input', 'killing the node']
    assert report['restarts_survived'] == 3
    assert report['bad_inputs'] > 15 and report['valid_requests'] > 15
    assert (report['unanswered'], report['unexplained'], report['header_mismatches']) == (0, 0, 0)
