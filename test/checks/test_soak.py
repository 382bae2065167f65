from __future__ import annotations

import json
from pathlib import Path

import pytest

from instructseg_ros.checks.soak import MemorySamples
from instructseg_ros.cli.main import main


def test_memory_growth_is_measured_after_the_warm_up() -> None:
    assert MemorySamples(idle=[50, 90] + [100] * 38).growth() == 0.0
    assert MemorySamples(idle=[100] * 36 + [110] * 4).growth() == pytest.approx(0.1)
    assert MemorySamples(idle=[100]).growth() == 0.0
    assert MemorySamples().growth() == 0.0


def test_idle_memory_is_kept_apart_from_the_peak() -> None:
    memory = MemorySamples()
    for resident, idle in ((90, True), (150, False), (91, True)):
        memory.add(resident, idle=idle)
    assert (memory.idle, memory.peak) == ([90, 91], 150)


@pytest.mark.ros
def test_a_killed_node_comes_back_and_answers_and_nothing_is_left_in_the_working_folder(
    domain: None, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'working'
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    main(
        [
            'soak',
            '--minutes',
            '0',
            '--model',
            str(tiny_model_dir),
            '--device',
            'cpu',
            '--json',
            str(tmp_path / 'report.json'),
        ]
    )
    report = json.loads((tmp_path / 'report.json').read_text())
    assert list(folder.iterdir()) == []
    assert len(list(tmp_path.glob('instructseg_soak_*/node.log'))) == 1
    assert report['restarts_survived'] == 3
    assert report['disturbances'] == 1 and report['valid_requests'] == 4
    assert (report['unanswered'], report['failures'], report['header_mismatches']) == (0, [], 0)
