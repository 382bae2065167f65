from __future__ import annotations

import json
from pathlib import Path

from instructseg_ros.cli.main import main


def test_a_short_soak_reports_states_and_memory(tiny_model_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / 'soak.json'
    options = ['--model', str(tiny_model_dir), '--frames', '30', '--rate', '10']
    assert main(['benchmark', 'soak', *options, '--json', str(file)]) == 0
    figures = json.loads(file.read_text())
    assert figures['frames'] == 30 and figures['rate'] == 10
    assert figures['states'] and sum(figures['states'].values()) > 0
    assert figures['memory_last_tenth_mb'] > 0
    assert figures['worst_age_ms'] >= figures['worst_excess_ms'] >= 0
