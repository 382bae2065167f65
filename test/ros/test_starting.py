from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_ros_starts_in_one_place_which_chooses_the_transport() -> None:
    files = [*(ROOT / 'instructseg_ros').rglob('*.py'), *(ROOT / 'scripts').glob('*.py')]
    assert {file.name for file in files if 'rclpy.init(' in file.read_text()} == {
        'starting.py',
        'hostile.py',  # a second context, in a process that has chosen
    }
