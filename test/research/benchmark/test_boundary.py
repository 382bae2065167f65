from __future__ import annotations

import json
from pathlib import Path

from instructseg_ros.cli.main import main


def test_the_fast_measure_gives_what_a_plain_dilation_gives(tmp_path: Path) -> None:
    file = tmp_path / 'figures.json'
    assert main(['benchmark', 'boundary', '--frames', '2', '--json', str(file)]) == 0
    figures = json.loads(file.read_text())
    assert figures['largest_difference'] < 1e-12
    assert figures['seconds'] > 0 and figures['plain_seconds'] > 0
